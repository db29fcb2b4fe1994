// hydractl, the command-line tool, as a function: main() and the tests call it alike.
#ifndef HYDRAD_CLIENT_HYDRACTL_HYDRACTL_H_
#define HYDRAD_CLIENT_HYDRACTL_HYDRACTL_H_

#include <iosfwd>
#include <string>
#include <vector>

namespace hydrad {

// Runs `args` (without the program's name). Answers the exit code: 0 done, 1 the daemon said no or could not
// be reached (why, on `err`), 2 the arguments are wrong. Reads HYDRAD_SERVER, HYDRAD_ADMIN,
// HYDRAD_TENANT_KEY and HYDRAD_ADMIN_KEY from the environment. `out` gets results only, so that it can be
// piped.
int RunHydractl(std::vector<std::string> args, std::istream& in, std::ostream& out, std::ostream& err);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRACTL_HYDRACTL_H_
