#include "server/adapters/formats/pattern_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using ::testing::HasSubstr;

constexpr char kQ0[] = "model.layers.0.self_attn.q_proj";
constexpr char kQ10[] = "model.layers.10.self_attn.q_proj";

using Entries = std::vector<std::pair<std::string, double>>;

std::optional<double> Find(const Entries& entries, std::string_view path) {
  const auto table = PatternTable::Compile(entries);
  EXPECT_TRUE(table.ok()) << table.status();
  const auto found = table->Find(path);
  EXPECT_TRUE(found.ok()) << found.status();
  return *found;
}
std::string CompileError(const Entries& entries) {
  return std::string(PatternTable::Compile(entries).status().message());
}

// Each expectation is what Python's re.match(r"(.*\.)?(PATTERN)$", path) gives.
TEST(PatternTable, MatchesAsPythonDoes) {
  struct Case {
    const char* pattern;
    const char* path;
    bool matches;
  };
  const std::vector<Case> cases = {
      {"q_proj", kQ0, true},
      {"proj", kQ0, false},  // begins at a dot or at the front
      {"self_attn.q_proj", kQ0, true},
      {"self_attn", kQ0, false},  // ends at the end
      {kQ0, kQ0, true},
      {kQ0, kQ10, false},
      {"0.self_attn.q_proj", kQ10, false},
      {"layers.1.*", kQ10, true},
      {R"(layers\.1\..*)", kQ10, false},  // the dot is escaped
      {R"(.*\.[0-4]\..*)", kQ0, true},
      {R"(.*\.[0-4]\..*)", kQ10, false},
      {"q_proj|k_proj", kQ0, true},
      {"Q_PROJ", kQ0, false},
      {"", kQ0, false},            // "(.*\.)?()$": nothing after the last dot
      {"a)|(model.*", kQ0, true},  // the text is pasted in: both sides of this | are tried
      {"[^.]+", kQ0, true},
      {"(?i)Q_PROJ", kQ0, true},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Find({{c.pattern, 4}}, c.path).has_value(), c.matches) << c.pattern << " on " << c.path;
  }
}

TEST(PatternTable, FirstInOrderCounts) {
  EXPECT_EQ(Find({{"k_proj", 1}, {"q_proj", 2}, {".*q_proj", 3}}, kQ0), 2);
  EXPECT_EQ(Find({{".*q_proj", 3}, {"q_proj", 2}}, kQ0), 3);
  EXPECT_EQ(Find({{"k_proj", 1}}, kQ0), std::nullopt);
  EXPECT_EQ(Find({}, kQ0), std::nullopt);
}

TEST(PatternTable, RefusesWhatIsNoRegularExpression) {
  EXPECT_THAT(CompileError({{"ok", 1}, {"q_proj(", 1}}),
              HasSubstr("pattern 'q_proj(' is not a regular expression: "));
  EXPECT_THAT(CompileError({{"a\\C", 1}}), HasSubstr("is not a regular expression"));
  EXPECT_EQ(CompileError({{std::string(1001, 'a'), 1}}), "a pattern has 1001 bytes, more than 1000");
  EXPECT_EQ(CompileError(Entries(4097, {"a", 1})), "has 4097 patterns, more than 4096");
}

TEST(PatternTable, MatchThatCostsTooMuchIsAnErrorNotAWait) {
  const auto table = PatternTable::Compile({{"(([a-z_.]+)*)*[XY]", 1}});
  ASSERT_TRUE(table.ok()) << table.status();
  const auto found = table->Find("model.layers.0.self_attn.q_proj_aaaaaaaaaaaaaaaaaaaaaaaaaaaa");
  EXPECT_EQ(found.status().message(), "pattern '(([a-z_.]+)*)*[XY]' costs too much to match");
}

TEST(PatternTable, EndlessRecursionIsAnErrorNotACrash) {
  const auto table = PatternTable::Compile({{"(?R)?a", 1}});
  ASSERT_TRUE(table.ok()) << table.status();
  const auto found = table->Find(kQ0);
  EXPECT_TRUE(found.ok() ? *found == std::nullopt : absl::IsInvalidArgument(found.status()));
}

TEST(PathPattern, MatchesWholePathsAlone) {
  const auto pattern = PathPattern::Compile("a|a\\.b");
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  EXPECT_TRUE(*pattern->Matches("a"));
  EXPECT_TRUE(*pattern->Matches("a.b"));
  for (const char* path : {"", "a.", "xa", "a.bc", "a\n"}) EXPECT_FALSE(*pattern->Matches(path)) << path;
  EXPECT_FALSE(PathPattern::Compile("(").ok());
  EXPECT_FALSE(PathPattern::Compile(std::string(1001, 'a')).ok());
}

}  // namespace
}  // namespace hydrad
