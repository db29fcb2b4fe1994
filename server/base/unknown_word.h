// What is wrong with a command line, in words that help: which word is not known, and which one was meant.
#ifndef HYDRAD_SERVER_BASE_UNKNOWN_WORD_H_
#define HYDRAD_SERVER_BASE_UNKNOWN_WORD_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace hydrad {

// Returns the candidate that `word` is most likely a misspelling of: the one with the fewest letters
// inserted, left out, replaced or swapped with their neighbour, at most a third of the word's, and the first
// of several; or nullopt where none is close.
std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& candidates);

// Returns "; did you mean 'x'?" where there is a nearest candidate, else "".
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates);

// Returns a sentence on the first of `arguments` (without the program's name) that `app` does not know, such
// as "unknown command 'generte'; did you mean 'generate'?" or "unknown option '--adaptor'; did you mean
// '--adapter'?". nullopt means that every option and command is known, so that something else is wrong.
std::optional<std::string> UnknownWord(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_UNKNOWN_WORD_H_
