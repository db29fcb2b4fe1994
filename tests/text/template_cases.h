// Tables of templates and of what becomes of them, over one context that has a value of every kind.
#ifndef HYDRAD_TESTS_TEXT_TEMPLATE_CASES_H_
#define HYDRAD_TESTS_TEXT_TEMPLATE_CASES_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/base/json.h"
#include "server/text/chat_template.h"

namespace hydrad {

struct TemplateCase {
  const char* source;
  const char* expected;
};

inline const Json& TemplateContext() {
  static const Json context = *ParseJson(R"({"n": 3, "f": 2.5, "s": "Hello World",
      "l": [3, 1, 2], "d": {"b": 1, "a": 2}, "words": ["beta", "Alpha", "alpha"],
      "people": [{"name": "Ann", "age": 30, "city": "Oslo"}, {"name": "bob", "age": 25, "city": "Rome"}, {"name": "Cid", "age": 30, "city": "Oslo"}],
      "text": "one two\nthree", "e": [], "t": true, "none": null, "deep": {"x": [{"y": 5}]}})");
  return context;
}

inline absl::StatusOr<std::string> RenderCase(const TemplateCase& c) {
  const auto parsed = ChatTemplate::Parse(c.source);
  if (!parsed.ok()) return parsed.status();
  const auto rendered = parsed->Render(TemplateContext(), std::chrono::system_clock::time_point());
  if (!rendered.ok()) return rendered.status();
  return rendered->text;
}

// Each source renders to the text that is expected.
inline void ExpectTexts(const std::vector<TemplateCase>& cases) {
  for (const TemplateCase& c : cases) {
    const auto text = RenderCase(c);
    ASSERT_TRUE(text.ok()) << c.source << ": " << text.status();
    EXPECT_EQ(*text, c.expected) << c.source;
  }
}

// Each source can be parsed, and rendering it is refused with the text that is expected.
inline void ExpectRefusals(const std::vector<TemplateCase>& cases) {
  for (const TemplateCase& c : cases) {
    EXPECT_TRUE(ChatTemplate::Parse(c.source).ok()) << c.source;
    const auto text = RenderCase(c);
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << c.source;
    EXPECT_EQ(text.status().message(), c.expected) << c.source;
  }
}

// Each source is refused before it is rendered, with the text that is expected.
inline void ExpectParseErrors(const std::vector<TemplateCase>& cases) {
  for (const TemplateCase& c : cases) {
    const auto parsed = ChatTemplate::Parse(c.source);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.source;
    EXPECT_EQ(parsed.status().message(), c.expected) << c.source;
  }
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_TEXT_TEMPLATE_CASES_H_
