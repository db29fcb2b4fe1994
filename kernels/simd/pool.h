// The threads of the CPU kernels. They spin for a while between two calls, because the products of one step
// follow each other within microseconds, and sleep when the engine is idle.
#ifndef HYDRAD_KERNELS_SIMD_POOL_H_
#define HYDRAD_KERNELS_SIMD_POOL_H_

#include <functional>
#include <memory>

namespace hydrad::simd {

// Run may be called by one thread at a time (the scheduler thread), which does its share of the work.
class Pool {
 public:
  // `threads` workers in all, the caller's included; 0: one per core that this process may use.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const;

  // Calls body(i) once for each i in [0, tasks), on any worker, and returns when all are done. How tasks fall
  // to workers must not change a result. `body` must not call Run.
  void Run(int tasks, const std::function<void(int)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hydrad::simd

#endif  // HYDRAD_KERNELS_SIMD_POOL_H_
