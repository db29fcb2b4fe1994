/* What a test can ask of the simulator. The functions live in the stand-in libcudart; a program finds them
 * with ptxsim_get(), which returns null when it runs on the real runtime, so one binary serves both. C, no
 * dependencies. */
#ifndef PTXSIM_H_
#define PTXSIM_H_

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PTXSIM_CHECKS_OFF = 0, PTXSIM_CHECKS_BOUNDS = 1, PTXSIM_CHECKS_FULL = 2 };

/* One kernel launch, or one library call such as a matrix product (blocks = 0). Counters of memory are zero
 * unless counting is on. Bytes "asked" are what the lanes asked for; "moved" counts 32-byte sectors once per
 * warp instruction; "distinct" counts each sector once per launch. */
typedef struct ptxsim_counters {
  char kernel[256];
  uint64_t blocks, threads_per_block, shared_bytes;
  uint64_t warp_instructions, thread_instructions, mma, barriers;
  uint64_t read_asked, read_moved, read_distinct;
  uint64_t written_asked, written_moved, written_distinct;
  uint64_t shared_requests, wavefronts, ideal_wavefronts;
  double seconds;
} ptxsim_counters;

typedef struct ptxsim_api {
  size_t size; /* of this struct, as the library was built */
  /* Findings: races, uninitialised and out-of-bounds accesses, misuse of the runtime. check() runs what is
   * still queued and returns how many there are since the last clear(). */
  size_t (*check)(void);
  size_t (*finding)(size_t index, char* text, size_t bytes); /* its whole length; 0: no such finding */
  /* Findings, the runtime's sticky error, and what fail_call has planned and done. */
  void (*clear)(void);
  void (*print_findings)(int on);
  /* Settings, each overriding its environment variable. They apply to launches that run from now on. */
  void (*set_checks)(int level);
  void (*set_schedule)(uint64_t schedule); /* 0 ascending, 1 descending, else a seed */
  void (*set_lazy_streams)(int on);
  void (*set_counting)(int on);
  void (*set_threads)(int threads);
  void (*set_block_limit)(uint64_t instructions);
  void (*set_memory)(uint64_t bytes);
  /* Launches since the last clear_launches(), oldest first. */
  size_t (*launches)(void);
  int (*launch)(size_t index, ptxsim_counters* counters); /* 0: no such launch (any more) */
  void (*clear_launches)(void);
  /* The call-th call from now on that can fail, of the runtime or of cuBLASLt, returns `error` (a
   * cudaError_t; cuBLASLt's own words for it) and does nothing, but for calls that give something back, which
   * do so all the same. With `lost` the device is gone: what is queued never runs, and every later call
   * returns `error`, until clear(). 0: no call. */
  void (*fail_call)(uint64_t call, int error, int lost);
  uint64_t (*calls)(void);          /* since the last fail_call: those that could have failed */
  const char* (*failed_call)(void); /* the name of the one that did; null: none yet */
} ptxsim_api;

/* Null if the program runs on the real CUDA runtime. */
static inline const ptxsim_api* ptxsim_get(void) {
  union {
    void* symbol;
    const ptxsim_api* (*function)(void);
  } found;
  found.symbol = dlsym(RTLD_DEFAULT, "ptxsim_api_of_this_library");
  return found.symbol ? found.function() : NULL;
}

#ifdef __cplusplus
}
#endif

#endif /* PTXSIM_H_ */
