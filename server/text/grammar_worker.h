// The processes that compile forms of answers and make their masks, each form in one of its own: what a form
// makes the library do can end nobody but that process, by more time or memory than is given, or by a crash.
//
// The main process has the library and the vocabulary ready. It forks itself for every form, so that a new
// process costs next to nothing, and does nothing else.
#ifndef HYDRAD_SERVER_TEXT_GRAMMAR_WORKER_H_
#define HYDRAD_SERVER_TEXT_GRAMMAR_WORKER_H_

#include <cstddef>
#include <string>

namespace hydrad {

struct GrammarLimits {
  double compile_seconds = 2;       // of processor time, to compile a form
  double mask_seconds = 0.25;       // likewise for each mask: beyond it the form's process is ended
  double answer_seconds = 5;        // likewise for all masks of an answer, which is then refused the next
  size_t memory_bytes = 128 << 20;  // beyond what the main process has
};

// Runs the main process until the other side of `socket` is gone. First it reads the vocabulary to the end of
// `vocabulary`, opens the library in `directory`, and replies how that went. Returns the exit status.
// REQUIRES: the process has one thread.
int RunGrammarProcess(const char* directory, int socket, int vocabulary, const GrammarLimits& limits);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_GRAMMAR_WORKER_H_
