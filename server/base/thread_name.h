// What each of our threads does first.
#ifndef HYDRAD_SERVER_BASE_THREAD_NAME_H_
#define HYDRAD_SERVER_BASE_THREAD_NAME_H_

#include <string>

namespace hydrad {

// Names the calling thread, as ps -T, a debugger and the report of a crash show it (15 characters are kept),
// and gives it a second stack, on which an overflow of the first can be reported.
void NameThisThread(const std::string& name);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_THREAD_NAME_H_
