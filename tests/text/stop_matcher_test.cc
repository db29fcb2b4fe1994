#include "server/text/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace hydrad {
namespace {

// What comes out when `text` goes in as given pieces.
struct Outcome {
  std::string text, match;
  bool operator==(const Outcome&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Outcome& o) {
  return out << "'" << o.text << "' <" << o.match << ">";
}

Outcome Feed(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (const std::string& piece : pieces) {
    StopMatcher::Result result = matcher.Add(piece);
    outcome.text += result.text;
    if (!result.match.empty()) {
      outcome.match = result.match;
      return outcome;
    }
  }
  outcome.text += matcher.Finish();
  return outcome;
}

struct Case {
  const char* name;
  std::vector<std::string> stops, pieces;
  Outcome expected;
};

TEST(StopMatcher, Cases) {
  const Case cases[] = {
      {"no stops", {}, {"abc", "def"}, {"abcdef", ""}},
      {"empty stops are ignored", {""}, {"abc"}, {"abc", ""}},
      {"in one piece", {"cd"}, {"abcdef"}, {"ab", "cd"}},
      {"across pieces", {"cde"}, {"abc", "d", "ef"}, {"ab", "cde"}},
      {"at the very start", {"ab"}, {"abc"}, {"", "ab"}},
      {"a beginning that comes to nothing", {"cdx"}, {"abcd", "ef"}, {"abcdef", ""}},
      {"a beginning at the end of the stream", {"cdx"}, {"abcd"}, {"abcd", ""}},
      {"the first to be complete wins over one that began before", {"abcd", "bc"}, {"abcd"}, {"a", "bc"}},
      {"of two that end together the longer", {"bc", "abc"}, {"xabc"}, {"x", "abc"}},
      {"of two that end together the longer, listed first", {"abc", "bc"}, {"xabc"}, {"x", "abc"}},
      {"the earliest of several occurrences", {"z"}, {"azbz"}, {"a", "z"}},
      {"a repeating beginning", {"aab"}, {"aa", "a", "b"}, {"a", "aab"}},
      {"self-overlap", {"abab"}, {"aba", "abab"}, {"aba", "abab"}},
      {"multi-byte characters stay whole", {"€€"}, {"a€", "b"}, {"a€b", ""}},
      {"multi-byte stop", {"é!"}, {"né", "!x"}, {"n", "é!"}},
  };
  for (const Case& c : cases) EXPECT_EQ(Feed(c.stops, c.pieces), c.expected) << c.name;
}

TEST(StopMatcher, HandsOutAllThatIsCertain) {
  StopMatcher matcher({"stop"});
  EXPECT_EQ(matcher.Add("go on").text, "go on");
  EXPECT_EQ(matcher.Add(" st").text, " ");
  EXPECT_EQ(matcher.Add("s").text, "st");
  EXPECT_EQ(matcher.Add("to").text, "");
  EXPECT_EQ(matcher.Add("ry").text, "story");
}

// The definition, byte by byte: after each byte, does a stop string end here?
Outcome ByDefinition(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string longest;
    for (const std::string& stop : stops) {
      const bool ends_here = text.substr(0, end).ends_with(stop);
      if (ends_here && stop.size() > longest.size()) longest = stop;
    }
    if (!longest.empty()) return {text.substr(0, end - longest.size()), longest};
  }
  return {text, ""};
}

std::string RandomText(std::mt19937_64& rng, size_t most) {
  std::string text(rng() % (most + 1), ' ');
  for (char& c : text) c = static_cast<char>('a' + rng() % 3);
  return text;
}

TEST(StopMatcher, DoesNotDependOnHowTheTextIsCut) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(1 + rng() % 3), pieces;
    for (std::string& stop : stops) stop = RandomText(rng, 5);
    const std::string text = RandomText(rng, 24);
    for (size_t at = 0; at < text.size();) {
      pieces.push_back(text.substr(at, 1 + rng() % 4));
      at += pieces.back().size();
    }
    ASSERT_EQ(Feed(stops, pieces), ByDefinition(stops, text)) << "round " << round;
  }
}

}  // namespace
}  // namespace hydrad
