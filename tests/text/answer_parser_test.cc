#include "server/text/answer_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "server/base/json.h"
#include "tests/text/answer_cuts.h"

namespace hydrad {
namespace {

using Kind = AnswerEvent::Kind;

// The events without markup and ids: (text of reasoning) [name arguments] and content as it is. A call that
// does not end is none that the parser may tell of.
std::string Shown(const std::vector<AnswerEvent>& events) {
  std::string out;
  for (const AnswerEvent& event : events) {
    switch (event.kind) {
      case Kind::kContent:
        out += event.text;
        break;
      case Kind::kReasoning:
        out += "(" + event.text + ")";
        break;
      case Kind::kCallBegins:
        out += "[" + event.name + " ";
        break;
      case Kind::kArguments:
        out += event.text;
        break;
      case Kind::kCallEnds:
        out += "]";
        break;
      case Kind::kMarkup:
        break;
    }
  }
  return out;
}

struct Case {
  const char* name;
  std::string text, shown;
  bool called = false;
};

void Check(const AnswerParser::Options& options, const Case& c) {
  SCOPED_TRACE(c.name);
  const ParsedAnswer whole = ParseCut(options, c.text, {});
  EXPECT_EQ(Shown(whole.events), c.shown);
  EXPECT_EQ(whole.called, c.called);
  EXPECT_EQ(Restored(whole.events), c.text) << "nothing is lost";
  EXPECT_EQ(ParseCut(options, c.text, EveryByte(c.text)), whole) << "cut at every byte";
  for (size_t a = 0; a <= c.text.size(); ++a) {
    for (size_t b = a; b <= c.text.size(); ++b)
      ASSERT_EQ(ParseCut(options, c.text, {a, b}), whole) << "cut at " << a << " and " << b;
  }
}

void Check(ToolFormat tools, const std::vector<Case>& cases) {
  for (const Case& c : cases) Check({.tools = tools}, c);
}

TEST(AnswerParserTest, Reasoning) {
  Check(ToolFormat::kNone,
        {
            {"nothing", "", ""},
            {"no reasoning", "An answer.\n", "An answer.\n"},
            {"white space alone", " \n ", " \n "},
            {"around", "<think>\nHm, 1 < 2.\n</think>\n\nYes.", "(Hm, 1 < 2.)Yes."},
            {"behind white space", "\n <think>Hm.</think>Yes.", "(Hm.)Yes."},
            {"empty", "<think>\n\n</think>\n\nYes.", "Yes."},
            {"of Mistral", "[THINK]Hm.</think>[/THINK]Yes.", "(Hm.</think>)Yes."},
            {"lines within", "<think>a\n\nb </ c\n</think>d", "(a\n\nb </ c)d"},
            {"not closed", "<think>Hm.\n", "(Hm.\n)"},
            {"closed in part", "<think>Hm.\n</thin", "(Hm.\n</thin)"},
            {"opened in part", " <thin", " <thin"},
            {"not at the beginning", "Use <think>x</think>.", "Use <think>x</think>."},
            {"twice", "<think>a</think>b<think>c</think>", "(a)b<think>c</think>"},
            {"twice in a row", "<think>a</think>\n<think>c</think>", "(a)<think>c</think>"},
            {"never opened", "Hm.</think>Yes.", "Hm.</think>Yes."},
            {"no marker is looked for", "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>",
             "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>"},
        });
}

TEST(AnswerParserTest, ReasoningThatThePromptOpens) {
  const AnswerParser::Options options = {.tools = ToolFormat::kHermes,
                                         .left_open = LeftOpenBy("... <think>\n")};
  Check(options, {"closed", "\nHm.\n</think>\n\nYes.", "(Hm.)Yes."});
  Check(options, {"not closed", "Hm.", "(Hm.)"});
  Check(options, {"closed at once", "</think>Yes.", "Yes."});
  Check(options, {"with a call behind it",
                  "Hm.</think>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
                  "(Hm.)[f {}]", true});
  Check(options, {"a call within is thought only", "<tool_call></think>a", "(<tool_call>)a"});
  Check({.reasoning = false}, {"not asked for", "<think>a</think>", "<think>a</think>"});
}

TEST(AnswerParserTest, Hermes) {
  Check(
      ToolFormat::kHermes,
      {
          {"one", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1, \"}\"]}}\n</tool_call>",
           "[f {\"x\": [1, \"}\"]}]", true},
          {"text before and between",
           "I look.\n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\nAnd\n"
           "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>\n",
           "I look.[f {}]And[g {}]", true},
          {"several",
           "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"name\":\"g\","
           "\"arguments\":{\"é\":\"\\u00e9\"}}</tool_call>",
           "[f {}][g {\"é\":\"\\u00e9\"}]", true},
          {"thought before", "<think>a</think><tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
           "(a)[f {}]", true},
          {"arguments first", "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>",
           "[f {\"a\": 1}]", true},
          {"arguments in a string",
           "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "[f {\"a\": 1}]",
           true},
          {"arguments that are null", "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>",
           "[f {}]", true},
          {"no arguments", "<tool_call>{\"name\": \"f\"}</tool_call>", "[f {}]", true},
          {"an id and a type",
           "<tool_call>{\"id\": \"1\", \"type\": \"function\", \"name\": \"f\", \"arguments\": "
           "{}}</tool_call>",
           "[f {}]", true},
          {"a name with escapes", "<tool_call>{\"name\": \"\\u0066\\n\", \"arguments\": {}}</tool_call>",
           "[f\n {}]", true},
          {"no closer", "<tool_call>{\"name\": \"f\", \"arguments\": {}}", "[f {}]", true},
          {"no closer, and text", "<tool_call>{\"name\": \"f\", \"arguments\": {}} and <b>", "[f {}]and <b>",
           true},
          {"no last bracket", "<tool_call>{\"name\": \"f\", \"arguments\": {}", "[f {}]", true},
          {"another closer", "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool>", "[f {}]</tool>", true},
          {"cut off in the arguments", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a", "[f {\"a]"},
          {"cut off in the name", "A <tool_call>{\"name\": \"f", "A <tool_call>{\"name\": \"f"},
          {"cut off in the marker", "A \n<tool_ca", "A \n<tool_ca"},
          {"the marker in a sentence", "Say <tool_call> and </tool_call>.",
           "Say <tool_call> and </tool_call>."},
          {"no JSON", "<tool_call>f(1)</tool_call>", "<tool_call>f(1)</tool_call>"},
          {"a list", "<tool_call>[]</tool_call>", "<tool_call>[]</tool_call>"},
          {"an empty object", "<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>"},
          {"another key", "<tool_call>{\"name\": \"f\", \"x\": 1}</tool_call>",
           "<tool_call>{\"name\": \"f\", \"x\": 1}</tool_call>"},
          {"a key twice", "<tool_call>{\"name\": \"f\", \"name\": \"g\"}",
           "<tool_call>{\"name\": \"f\", \"name\": \"g\"}"},
          {"a name that is empty", "<tool_call>{\"name\": \"\", \"arguments\": {}}",
           "<tool_call>{\"name\": \"\", \"arguments\": {}}"},
          {"a name that is a number", "<tool_call>{\"name\": 1}", "<tool_call>{\"name\": 1}"},
          {"a name that is no text", "<tool_call>{\"name\": \"\\ud800\"}",
           "<tool_call>{\"name\": \"\\ud800\"}"},
          {"arguments that are a list", "<tool_call>{\"name\": \"f\", \"arguments\": []}",
           "<tool_call>{\"name\": \"f\", \"arguments\": []}"},
          {"arguments in a string that holds none", "<tool_call>{\"name\": \"f\", \"arguments\": \"1\"}",
           "<tool_call>{\"name\": \"f\", \"arguments\": \"1\"}"},
          {"arguments that break", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\" 1}}</tool_call> b",
           "[f {\"a\" ]1}}</tool_call> b"},
          {"an object that breaks behind its arguments", "<tool_call>{\"name\": \"f\", \"arguments\": {}, x",
           "[f {}], x", true},
          {"a call in what was none",
           "<tool_call> <tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", "<tool_call>[f {}]",
           true},
          {"a call behind one that broke",
           "<tool_call>{\"name\": \"f\", \"arguments\": {]<tool_call>{\"name\": \"g\", \"arguments\": {}}",
           "[f {]][g {}]", true},
          {"a marker in the arguments",
           "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\"}}</tool_call>",
           "[f {\"a\": \"</tool_call>\"}]", true},
          {"what begins as a marker twice", "<<tool_call>{\"name\": \"f\", \"arguments\": {}}", "<[f {}]",
           true},
      });
}

TEST(AnswerParserTest, Llama3Json) {
  Check(ToolFormat::kLlama3Json,
        {
            {"alone", "{\"name\": \"f\", \"parameters\": {\"x\": \"1\"}}", "[f {\"x\": \"1\"}]", true},
            {"behind white space", "\n\n{\"name\": \"f\", \"parameters\": {}}\n", "[f {}]", true},
            {"called arguments", "{\"name\": \"f\", \"arguments\": {}}", "[f {}]", true},
            {"with a type", "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}", "[f {}]", true},
            {"behind the tag", "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "[f {}]", true},
            {"behind text and the tag", "I look. <|python_tag|>{\"name\": \"f\", \"parameters\": {}}",
             "I look.[f {}]", true},
            {"several",
             "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}} ;\n"
             "{\"name\": \"h\", \"parameters\": {}}",
             "[f {}][g {}][h {}]", true},
            {"a separator and nothing", "{\"name\": \"f\", \"parameters\": {}}; ", "[f {}]; ", true},
            {"a separator and text", "{\"name\": \"f\", \"parameters\": {}}; so", "[f {}]; so", true},
            {"a separator and what is none", "{\"name\": \"f\", \"parameters\": {}}; {\"a\": 1}",
             "[f {}]; {\"a\": 1}", true},
            {"thought before", "<think>a</think>\n{\"name\": \"f\", \"parameters\": {}}", "(a)[f {}]", true},
            {"not at the beginning", "So: {\"name\": \"f\", \"parameters\": {}}",
             "So: {\"name\": \"f\", \"parameters\": {}}"},
            {"an object", " {\"answer\": 42}", " {\"answer\": 42}"},
            {"an object with a name", "{\"name\": \"Ada\"}", "{\"name\": \"Ada\"}"},
            {"an object with a name and more", "{\"name\": \"Ada\", \"age\": 36}",
             "{\"name\": \"Ada\", \"age\": 36}"},
            {"a program", "<|python_tag|>print({})", "<|python_tag|>print({})"},
            {"the tag alone", "<|python_tag|>", "<|python_tag|>"},
            {"a block", "{", "{"},
        });
}

TEST(AnswerParserTest, Mistral) {
  Check(
      ToolFormat::kMistral,
      {
          {"a list of one", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": 1}}]", "[f {\"x\": 1}]",
           true},
          {"a list of several",
           "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}, \"id\": \"123456789\"},\n {\"name\": \"g\", "
           "\"arguments\": {}}] \n",
           "[f {}][g {}]", true},
          {"text around", "I look. [TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}] So.",
           "I look.[f {}]So.", true},
          {"an object without brackets", "[TOOL_CALLS]{\"name\": \"f\", \"arguments\": {}}", "[f {}]", true},
          {"named", "[TOOL_CALLS]get-f_1[ARGS]{\"x\": 1}", "[get-f_1 {\"x\": 1}]", true},
          {"several named", "[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[CALL_ID]ab1[ARGS] {}\n", "[f {}][g {}]",
           true},
          {"named without its marker", "[TOOL_CALLS] f{\"x\": 1} ", "[f {\"x\": 1}]", true},
          {"named, and text", "[TOOL_CALLS]f[ARGS]{}, and", "[f {}], and", true},
          {"no list closer", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}", "[f {}]", true},
          {"a list with a comma too many", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}},]", "[f {}],]",
           true},
          {"a list that breaks", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}; {\"", "[f {}]; {\"",
           true},
          {"an empty list", "[TOOL_CALLS] []", "[TOOL_CALLS] []"},
          {"a name alone", "[TOOL_CALLS]f", "[TOOL_CALLS]f"},
          {"a sentence", "[TOOL_CALLS] is a marker", "[TOOL_CALLS] is a marker"},
          {"another marker behind the name", "[TOOL_CALLS]f[CALL]{}", "[TOOL_CALLS]f[CALL]{}"},
          {"arguments that are a list", "[TOOL_CALLS]f[ARGS][1]", "[TOOL_CALLS]f[ARGS][1]"},
          {"arguments that break", "[TOOL_CALLS]f[ARGS]{1}", "[f {]1}"},
          {"a bracket", "a[0]", "a[0]"},
      });
}

std::vector<AnswerEvent> Added(AnswerParser& parser, std::string_view text) {
  std::vector<AnswerEvent> events;
  parser.Add(text, &events);
  return events;
}

TEST(AnswerParserTest, TellsWhatIsCertainAtOnce) {
  AnswerParser parser({.tools = ToolFormat::kHermes});
  EXPECT_EQ(Shown(Added(parser, "I")), "I");
  EXPECT_EQ(Shown(Added(parser, " look at 1 <")), " look at 1");
  EXPECT_EQ(Shown(Added(parser, " 2.\n\n")), " < 2.");
  EXPECT_EQ(Shown(Added(parser, "<tool_call>\n{\"name\": \"f")), "");
  EXPECT_EQ(Shown(Added(parser, "\", \"arguments\": ")), "");
  EXPECT_EQ(Shown(Added(parser, "{")), "[f {");
  EXPECT_EQ(Shown(Added(parser, "\"x\": tr")), "\"x\": tr");
  EXPECT_EQ(Shown(Added(parser, "ue}")), "ue}]");
  EXPECT_EQ(Shown(Added(parser, "}\n</tool")), "");
  EXPECT_EQ(Shown(Added(parser, "_call>\n")), "");
  EXPECT_EQ(Shown(Added(parser, "So")), "So");
}

TEST(AnswerParserTest, ReleasesAnObjectWithTheFirstKeyThatNoCallHas) {
  AnswerParser parser({.tools = ToolFormat::kLlama3Json});
  EXPECT_EQ(Shown(Added(parser, "{\"na")), "");
  EXPECT_EQ(Shown(Added(parser, "tion\"")), "{\"nation\"");
}

TEST(AnswerParserTest, NumbersCallsAndNamesThem) {
  const std::string text =
      "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}, {\"arguments\": {}, \"name\": \"f\"}]";
  const auto calls = [&](uint64_t seed) {
    std::vector<AnswerEvent> begins;
    for (AnswerEvent& event : ParseCut({.tools = ToolFormat::kMistral, .id_seed = seed}, text, {}).events) {
      if (event.kind == Kind::kCallBegins) begins.push_back(std::move(event));
    }
    return begins;
  };
  std::set<std::string> ids;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const std::vector<AnswerEvent> begins = calls(seed);
    ASSERT_EQ(begins.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(begins[i].call, static_cast<int>(i));
      EXPECT_THAT(begins[i].id, testing::MatchesRegex("[a-zA-Z0-9]{9}"));
      ids.insert(begins[i].id);
    }
  }
  EXPECT_EQ(ids.size(), 2000u);
}

TEST(AnswerParserTest, HoldsOnlySoMuch) {
  const std::string spaces(AnswerParser::kMaxSpaceBytes, ' ');
  const std::string much(AnswerParser::kMaxHeldBytes, ' ');
  for (const std::string& begin : {"" + spaces, "a" + spaces, "<tool_call>" + spaces, "<tool_call>{" + much,
                                   "<tool_call>{\"arguments\": {\"a\": \"" + much}) {
    AnswerParser parser({.tools = ToolFormat::kHermes});
    EXPECT_LT(begin.size() - Restored(Added(parser, begin)).size(), AnswerParser::kMaxSpaceBytes);
  }
  AnswerParser parser({.tools = ToolFormat::kHermes});
  Added(parser, "<tool_call>{\"name\": \"f\", \"arguments\": {");
  const std::string large = "\"a\": \"" + std::string(3 * AnswerParser::kMaxHeldBytes, 'a') + "\"";
  EXPECT_EQ(Shown(Added(parser, large)), large) << "arguments that are told are not held";
}

TEST(AnswerParserTest, BoundsNames) {
  const auto answer = [](size_t bytes) {
    return "<tool_call>{\"name\": \"" + std::string(bytes, 'f') + "\", \"arguments\": {}}";
  };
  const AnswerParser::Options options = {.tools = ToolFormat::kHermes};
  EXPECT_TRUE(ParseCut(options, answer(CallReader::kMaxNameBytes), {}).called);
  EXPECT_EQ(Shown(ParseCut(options, answer(CallReader::kMaxNameBytes + 1), {}).events),
            answer(CallReader::kMaxNameBytes + 1));
}

TEST(AnswerParserTest, ArgumentsAreJson) {
  for (const char* arguments :
       {"{\"a\": [0, -0, 10, 1.5, 2e3, 1E+2, 1e-2, -1.0e0], \"b\": {\"c\": [[], {}]}, \"d\": null}",
        "{ \"a\" : [ true , false , \"\\u00e9 \\\\ \\\" \\/ \\b\\f\\n\\r\\t\" ] }"}) {
    const ParsedAnswer parsed =
        ParseCut({.tools = ToolFormat::kMistral}, std::string("[TOOL_CALLS]f[ARGS]") + arguments, {});
    EXPECT_TRUE(parsed.called);
    EXPECT_EQ(Shown(parsed.events), std::string("[f ") + arguments + "]");
    EXPECT_TRUE(ParseJson(arguments).ok());
  }
  for (const char* arguments : {"{\"a\": 01}",
                                "{\"a\": .5}",
                                "{\"a\": 1.}",
                                "{\"a\": -}",
                                "{\"a\": 1e}",
                                "{\"a\": tru}",
                                "{\"a\": True}",
                                "{\"a\": \"\\x\"}",
                                "{\"a\": \"\\u00g0\"}",
                                "{\"a\": \"\n\"}",
                                "{\"a\": 1,}",
                                "{\"a\": [1,]}",
                                "{,}",
                                "{\"a\"}",
                                "{\"a\": }",
                                "{\"a\": [}",
                                "{a: 1}",
                                "{'a': 1}",
                                "{\"a\": 1 2}",
                                "{\"a\": 1e+}",
                                "{\"a\": --1}"}) {
    const std::string answer = std::string("[TOOL_CALLS]f[ARGS]") + arguments;
    const ParsedAnswer parsed = ParseCut({.tools = ToolFormat::kMistral}, answer, {});
    EXPECT_FALSE(parsed.called) << arguments;
    EXPECT_EQ(Restored(parsed.events), answer);
    EXPECT_FALSE(ParseJson(arguments).ok()) << arguments;
  }
}

TEST(AnswerParserTest, BoundsNesting) {
  const auto called = [](size_t depth) {
    const std::string answer =
        "[TOOL_CALLS]f[ARGS]{\"a\": " + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
    return ParseCut({.tools = ToolFormat::kMistral}, answer, {}).called;
  };
  EXPECT_TRUE(called(JsonScanner::kMaxDepth));
  EXPECT_FALSE(called(JsonScanner::kMaxDepth + 1));
}

}  // namespace
}  // namespace hydrad
