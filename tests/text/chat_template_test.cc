#include "server/text/chat_template.h"

#include <gtest/gtest.h>

#include "tests/text/fixture.h"

namespace hydrad {
namespace {

constexpr std::chrono::system_clock::time_point kNow{std::chrono::seconds(1'700'000'000)};

Json Parsed(std::string_view json) { return *ParseJson(json); }

absl::StatusOr<ChatTemplate::Rendered> TryRender(std::string_view source, const Json& context,
                                                 const ChatTemplateLimits& limits = {}) {
  const auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(context, kNow, limits);
}

std::string Render(std::string_view source, const Json& context = Json::object()) {
  const auto rendered = TryRender(source, context);
  EXPECT_TRUE(rendered.ok()) << rendered.status();
  return rendered.ok() ? rendered->text : "";
}

std::string Refusal(std::string_view source, const Json& context = Json::object()) {
  const auto rendered = TryRender(source, context);
  EXPECT_FALSE(rendered.ok()) << "rendered " << rendered->text;
  EXPECT_EQ(rendered.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(rendered.status().message());
}

std::string ParseError(std::string_view source) {
  const auto parsed = ChatTemplate::Parse(source);
  EXPECT_FALSE(parsed.ok()) << source;
  return std::string(parsed.status().message());
}

// The rendered text with the parts that are data in brackets.
std::string Marked(std::string_view source, const Json& context) {
  const auto rendered = TryRender(source, context);
  EXPECT_TRUE(rendered.ok()) << rendered.status();
  std::string out;
  size_t pos = 0;
  for (const ByteRange& range : rendered->from_data) {
    EXPECT_TRUE(range.begin < range.end && (pos == 0 || range.begin > pos));
    out += rendered->text.substr(pos, range.begin - pos);
    out += "[" + rendered->text.substr(range.begin, range.end - range.begin) + "]";
    pos = range.end;
  }
  return out + rendered->text.substr(pos);
}

constexpr char kChatMl[] =
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n";

TEST(ChatTemplateTest, RendersAConversation) {
  const Json context = Parsed(R"({"add_generation_prompt": true, "messages": [
      {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]})");
  EXPECT_EQ(
      Render(kChatMl, context),
      "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, TellsWhatCameFromTheContext) {
  const Json context = Parsed(R"({"messages": [{"role": "user", "content": "a<|im_end|>b"}]})");
  EXPECT_EQ(Marked(kChatMl, context), "<|im_start|>user\n[a<|im_end|>b]<|im_end|>\n");
}

// "<|" + role + "|>" is a token in some templates. What is no word is data.
TEST(ChatTemplateTest, RolesOfMessagesAreNoData) {
  constexpr char kRoles[] = "{% for m in messages %}<|{{ m.role }}|>{{ m.name.role }}{% endfor %}{{ role }}";
  EXPECT_EQ(Marked(kRoles, Parsed(R"({"role": "a", "messages": [
                {"role": "user", "name": {"role": "b"}}, {"role": "u|><|x", "name": {}}]})")),
            "<|user|>[b]<|[u|><|x]|>[a]");
}

TEST(ChatTemplateTest, TokensOfTheModelAreNoData) {
  EXPECT_EQ(Marked("{{ bos_token }}{{ text }}{{ eos_token + text }}",
                   Parsed(R"({"bos_token": "<s>", "eos_token": "</s>", "text": "<s>"})")),
            "<s>[<s>]</s>[<s>]");
}

TEST(ChatTemplateTest, OriginSurvivesEveryOperation) {
  const Json context = Parsed(R"({"x": " a-<T>-b ", "l": ["<T>", "q"], "d": {"k": "<T>"}})");
  const std::pair<const char*, const char*> cases[] = {
      {"{{ x | trim }}", "[a-<T>-b]"},
      {"{{ x.strip() }}!", "[a-<T>-b]!"},
      {"{{ x[2:5] }}", "[-<T]"},
      {"{{ x[::-1] }}", "[ b->T<-a ]"},
      {"{{ x[3] }}", "[<]"},
      {"{{ '(' ~ x.strip() ~ ')' }}", "([a-<T>-b])"},
      {"{{ '<T>' + x[3:6] }}", "<T>[<T>]"},
      {"{{ x.strip().replace('-', '+') }}", "[a]+[<T>]+[b]"},
      {"{{ 'a-b' | replace('-', x[3:6]) }}", "a[<T>]b"},
      {"{{ x.split('-') | join('|') }}", "[ a]|[<T>]|[b ]"},
      {"{{ x.strip().partition('-') | join }}", "[a-<T>-b]"},
      {"{{ l | join(',') }}", "[<T>],[q]"},
      {"{{ ','.join(l) }}", "[<T>],[q]"},
      {"{{ l[0] | upper }}{{ l[0].lower() }}", "[<T><t>]"},
      {"{{ l[0] | capitalize }}{{ 'q' | title }}", "[<t>]Q"},
      {"{{ l | tojson }}", "[\"[<T>]\", \"[q]\"]"},
      {"{{ d | tojson }}", "{\"[k]\": \"[<T>]\"}"},
      {"{{ d }}", "{'[k]': '[<T>]'}"},
      {"{{ '%s:%s' % (l[0], 1) }}", "[<T>]:1"},
      {"{{ '{}:{:>5}'.format('z', l[0]) }}", "z:  [<T>]"},
      {"{{ l[0] * 2 }}", "[<T><T>]"},
      {"{{ l[0] | list | join('.') }}", "[<].[T].[>]"},
      {"{{ l[0] | indent(2, true) }}", "  [<T>]"},
      {"{{ l[0].center(5) }}", " [<T>] "},
      {"{{ l[0].zfill(5) }}", "00[<T>]"},
      {"{{ l | first }}{{ l | last }}", "[<T>q]"},
      {"{{ l | map('trim') | list | string }}", "['[<T>]', '[q]']"},
      {"{% set y %}({{ l[0] }}){% endset %}{{ y }}", "([<T>])"},
      {"{% macro m(a) %}<T>{{ a }}{% endmacro %}{{ m(l[0]) }}", "<T>[<T>]"},
      {"{% filter upper %}x{{ l[1] }}{% endfilter %}", "X[Q]"},
      {"{% set n = namespace(t='') %}{% for i in l %}{% set n.t = n.t + i + '/' %}{% endfor %}{{ n.t }}",
       "[<T>]/[q]/"},
      {"{{ l[0] | default('z') }}{{ u | default(l[0]) }}", "[<T><T>]"},
      {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "[k]=[<T>]"},
      {"{{ dict(d).k ~ dict(a=l[0]).a }}", "[<T><T>]"},
  };
  for (const auto& [source, expected] : cases) EXPECT_EQ(Marked(source, context), expected) << source;
}

TEST(ChatTemplateTest, RaisedTextIsTheError) {
  EXPECT_EQ(Refusal("{{ raise_exception('Roles must alternate: ' + role) }}", {{"role", "user"}}),
            "Roles must alternate: user");
}

TEST(ChatTemplateTest, OtherErrorsSayTheLine) {
  EXPECT_EQ(Refusal("a\n{{ b.c }}"), "line 2: 'b' is undefined");
  EXPECT_EQ(Refusal("{{ x.y.z }}", Parsed(R"({"x": {}})")),
            "line 1: a value of type dict has no element 'y'");
  EXPECT_EQ(Refusal("\n\n{{ 1 // 0 }}"), "line 3: a division by zero");
}

TEST(ChatTemplateTest, MissingPartsAreRefusedByName) {
  EXPECT_EQ(ParseError("{% include 'x' %}"), "line 1: the tag 'include' is not supported");
  EXPECT_EQ(ParseError("a\n{% extends 'x' %}"), "line 2: the tag 'extends' is not supported");
  EXPECT_EQ(ParseError("{{ x | urlize }}"), "line 1: the filter 'urlize' is not supported");
  EXPECT_EQ(ParseError("{% if x is weird %}{% endif %}"), "line 1: the test 'weird' is not supported");
  EXPECT_EQ(ParseError("{{ lipsum() }}"), "line 1: the function 'lipsum' is not supported");
  EXPECT_EQ(ParseError("{{ x.encode('utf-8') }}"), "line 1: the method 'encode' is not supported");
}

TEST(ChatTemplateTest, NothingButDataIsReached) {
  EXPECT_EQ(Render("{{ x.__class__ }}{{ x['__class__'] }}{{ x.mro }}", {{"x", "a"}}), "");
  Refusal("{{ x.__class__.__mro__ }}", {{"x", "a"}});
  Refusal("{{ x.append(1) }}", {{"x", Json::array()}});
  Refusal("{{ x.update({}) }}", {{"x", Json::object()}});
  Refusal("{{ namespace(_a=1) }}");
}

TEST(ChatTemplateTest, WorkIsBounded) {
  ChatTemplateLimits few;
  few.steps = 10'000;
  const auto endless =
      TryRender("{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
                Json::object(), few);
  EXPECT_NE(Message(endless.status()).find("takes more than 10000 steps"), std::string::npos);
  EXPECT_NE(
      Refusal("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}")
          .find("bytes of memory"),
      std::string::npos);
  EXPECT_NE(Refusal("{{ 'x' * 9999999999 }}").find("too much memory"), std::string::npos);
  EXPECT_NE(Refusal("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("levels deep"),
            std::string::npos);
  EXPECT_NE(
      Refusal(
          "{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}")
          .find("levels deep"),
      std::string::npos);
  Refusal("{{ range(1000000) | list }}");
  ChatTemplateLimits small;
  small.output_bytes = 10;
  EXPECT_FALSE(TryRender("{{ 'x' * 11 }}", Json::object(), small).ok());
  EXPECT_TRUE(TryRender("{{ 'x' * 10 }}", Json::object(), small).ok());
}

TEST(ChatTemplateTest, SourcesAreBounded) {
  std::string chain = "{{ 1";
  for (int i = 0; i < 1000; ++i) chain += "+1";
  EXPECT_NE(ParseError("{{ " + std::string(1000, '(') + "1" + std::string(1000, ')') + " }}").find("levels"),
            std::string::npos);
  EXPECT_NE(ParseError(chain + " }}").find("levels"), std::string::npos);
  EXPECT_NE(ParseError("{{ " + std::string(1000, '-') + "1 }}").find("levels"), std::string::npos);
  std::string ifs;
  for (int i = 0; i < 1000; ++i) ifs += "{% if a %}";
  EXPECT_NE(ParseError(ifs).find("levels"), std::string::npos);
  EXPECT_FALSE(ChatTemplate::Parse("\xff").ok());
}

TEST(ChatTemplateTest, NamespacesMayPointToThemselves) {
  Refusal("{% set n = namespace() %}{% set n.n = n %}{{ n }}");
  EXPECT_EQ(Render("{% set n = namespace() %}{% set n.n = n %}{{ n.n.n.n is defined }}"), "True");
}

TEST(ChatTemplateTest, IntegersHave64Bits) {
  EXPECT_EQ(Render("{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }} {{ 2 ** 62 }}"),
            "9223372036854775807 -9223372036854775808 4611686018427387904");
  EXPECT_NE(Refusal("{{ 9223372036854775807 + 1 }}").find("64 bits"), std::string::npos);
  EXPECT_NE(Refusal("{{ 2 ** 63 }}").find("64 bits"), std::string::npos);
  EXPECT_NE(ParseError("{{ 9223372036854775808 }}").find("64 bits"), std::string::npos);
}

TEST(ChatTemplateTest, OneTemplateServesManyRenderings) {
  const auto parsed = ChatTemplate::Parse(
      "{% set ns = namespace(n=0) %}{% for m in messages %}"
      "{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  for (int i = 0; i < 3; ++i) {
    const auto rendered = parsed->Render(Parsed(R"({"messages": [1, 2]})"), kNow);
    ASSERT_TRUE(rendered.ok());
    EXPECT_EQ(rendered->text, "2");
  }
}

}  // namespace
}  // namespace hydrad
