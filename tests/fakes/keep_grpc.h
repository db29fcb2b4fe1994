// Keeps gRPC's library up between the tests of a program. Without it the last channel of each test takes the
// library down, which waits for its client's background poll: ten seconds, now and then.
#ifndef HYDRAD_TESTS_FAKES_KEEP_GRPC_H_
#define HYDRAD_TESTS_FAKES_KEEP_GRPC_H_

#include <grpc/grpc.h>

namespace hydrad {

// Call before the first channel. The library stays until the program ends.
inline void KeepGrpc() {
  static const bool kept = (grpc_init(), true);
  (void)kept;
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_KEEP_GRPC_H_
