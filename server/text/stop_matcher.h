// Finds a request's stop strings in text that arrives in pieces.
#ifndef HYDRAD_SERVER_TEXT_STOP_MATCHER_H_
#define HYDRAD_SERVER_TEXT_STOP_MATCHER_H_

#include <string>
#include <string_view>
#include <vector>

namespace hydrad {

// Text is handed out as soon as no match can begin in it, and never before. The match is the one that is
// complete first, as if the text came byte by byte, so the result does not depend on how the text was cut; of
// several that end at the same byte the longest counts. Single-threaded.
class StopMatcher {
 public:
  // Empty stop strings are ignored. With valid UTF-8 in stop strings and text, text is only ever cut between
  // characters.
  explicit StopMatcher(std::vector<std::string> stops);

  struct Result {
    std::string text;        // what is certain now; after a match, the text before it
    std::string_view match;  // the stop string that was found, empty if none; lives as long as the matcher
  };
  // REQUIRES: nothing was found before.
  Result Add(std::string_view text);

  // Returns what was held back: the stream has ended, and it is text after all.
  std::string Finish();

 private:
  std::string_view FindFirst(size_t* begin) const;
  size_t HeldLength() const;

  std::vector<std::string> stops_;
  size_t longest_ = 0;
  std::string held_;  // the end of the text so far that may be the beginning of a match
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_STOP_MATCHER_H_
