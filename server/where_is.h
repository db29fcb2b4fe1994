// Where another thread is, for the log.
#ifndef HYDRAD_SERVER_WHERE_IS_H_
#define HYDRAD_SERVER_WHERE_IS_H_

#include <string>

#include "server/base/clock.h"

namespace hydrad {

// Backtrace of this process's thread of that name (NameThisThread), one frame after the other in a line; it
// is taken by a handler in the thread itself. A thread that does not answer within `limit` is asleep in the
// kernel or stopped: the text then is what the kernel tells of it. One caller at a time gets an answer, the
// others wait. Thread-safe.
std::string WhereIs(const std::string& thread, Duration limit);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_WHERE_IS_H_
