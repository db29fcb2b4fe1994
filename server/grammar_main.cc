// hydrad-grammar: what the daemon starts for structured output (text/grammar_service.h). It is of no use by
// itself.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "server/text/grammar_worker.h"

int main(int argc, char** argv) {
  constexpr int kSocket = 3, kVocabulary = 4;  // what the daemon hands over
  if (argc != 6) {
    std::fputs("hydrad-grammar is started by hydrad, for structured output\n", stderr);
    return EXIT_FAILURE;
  }
  close_range(kVocabulary + 1, ~0u, 0);
  return hydrad::RunGrammarProcess(argv[1], kSocket, kVocabulary,
                                   {.compile_seconds = std::atof(argv[2]),
                                    .mask_seconds = std::atof(argv[3]),
                                    .answer_seconds = std::atof(argv[4]),
                                    .memory_bytes = static_cast<size_t>(std::atoll(argv[5]))});
}
