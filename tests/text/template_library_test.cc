// The filters of chat templates and the methods of their values. What is expected is what jinja2 renders.
#include "server/text/chat_template.h"

#include <gtest/gtest.h>

#include "tests/text/template_cases.h"

namespace hydrad {
namespace {

TEST(TemplateLibraryTest, FiltersOfLists) {
  ExpectTexts({
      {"{{ l | sort }} {{ l | sort(reverse=true) }}", "[1, 2, 3] [3, 2, 1]"},
      {"{{ words | sort }}", "['Alpha', 'alpha', 'beta']"},
      {"{{ words | sort(case_sensitive=true) }}", "['Alpha', 'alpha', 'beta']"},
      {"{{ people | sort(attribute='age,name') | map(attribute='name') | list }}", "['bob', 'Ann', 'Cid']"},
      {"{{ l | length }} {{ s | length }} {{ d | count }}", "3 11 2"},
      {"{{ l | sum }} {{ people | sum(attribute='age') }}", "6 85"},
      {"{{ [1.5, 2] | sum(start=1) }} {{ e | sum }}", "4.5 0"},
      {"{{ l | min }} {{ l | max }} {{ words | min }}", "1 3 Alpha"},
      {"{{ words | max(case_sensitive=true) }}", "beta"},
      {"{{ people | max(attribute='age') | items | first }}", "('name', 'Ann')"},
      {"{{ e | max }}|", "|"},
      {"{{ l | first }} {{ l | last }}", "3 2"},
      {"{{ e | first }}| {{ s | first }} {{ s | last }}", "| H d"},
      {"{{ l | reverse | list }} {{ s | reverse }}", "[2, 1, 3] dlroW olleH"},
      {"{{ l | join('-') }}", "3-1-2"},
      {"{{ people | join(', ', attribute='name') }}", "Ann, bob, Cid"},
      {"{{ [1, none, 'a'] | join }}", "1Nonea"},
      {"{{ words | unique | list }}", "['beta', 'Alpha']"},
      {"{{ words | unique(true) | list }}", "['beta', 'Alpha', 'alpha']"},
      {"{{ people | unique(attribute='age') | map(attribute='name') | list }}", "['Ann', 'bob']"},
      {"{{ [1, 1.0, true, 2] | unique | list }}", "[1, 2]"},
      {"{{ range(7) | batch(3) | list }}", "[[0, 1, 2], [3, 4, 5], [6]]"},
      {"{{ range(7) | batch(3, 'x') | list }}", "[[0, 1, 2], [3, 4, 5], [6, 'x', 'x']]"},
      {"{{ range(7) | slice(3) | list }}", "[[0, 1, 2], [3, 4], [5, 6]]"},
      {"{{ range(7) | slice(3, 'x') | list }}", "[[0, 1, 2], [3, 4, 'x'], [5, 6, 'x']]"},
      {"{{ people | groupby('city') | map('first') | list }}", "['Oslo', 'Rome']"},
      {"{% for g in people | groupby('age') %}{{ g.grouper }}:{{ g.list | map(attribute='name') | join('+') "
       "}};{% endfor %}",
       "25:bob;30:Ann+Cid;"},
      {"{{ d | dictsort }} {{ d | dictsort(by='value') }}", "[('a', 2), ('b', 1)] [('b', 1), ('a', 2)]"},
      {"{{ d | dictsort(reverse=true) }} {{ d | items | list }}",
       "[('b', 1), ('a', 2)] [('b', 1), ('a', 2)]"},
      {"{{ 'ab' | list }} {{ d | list }}", "['a', 'b'] ['b', 'a']"},
  });
}

TEST(TemplateLibraryTest, MapAndSelect) {
  ExpectTexts({
      {"{{ people | map(attribute='name') | list }}", "['Ann', 'bob', 'Cid']"},
      {"{{ people | map(attribute='zip', default='?') | list }}", "['?', '?', '?']"},
      {"{{ words | map('upper') | list }}", "['BETA', 'ALPHA', 'ALPHA']"},
      {"{{ l | map('string') | join }}", "312"},
      {"{{ deep.x | map(attribute='y') | list }}", "[5]"},
      {"{{ l | select('odd') | list }}", "[3, 1]"},
      {"{{ l | reject('odd') | list }}", "[2]"},
      {"{{ l | select('gt', 1) | list }}", "[3, 2]"},
      {"{{ [0, 1, '', 'a', none] | select | list }}", "[1, 'a']"},
      {"{{ [0, 1, ''] | reject | list }}", "[0, '']"},
      {"{{ people | selectattr('age', 'eq', 30) | map(attribute='name') | list }}", "['Ann', 'Cid']"},
      {"{{ people | rejectattr('age', 'lt', 30) | map(attribute='name') | list }}", "['Ann', 'Cid']"},
      {"{{ people | selectattr('zip') | list }}", "[]"},
      {"{{ people | selectattr('zip', 'undefined') | list | length }}", "3"},
      {"{{ words | map('replace', 'a', 'o') | list }}", "['beto', 'Alpho', 'olpho']"},
      {"{{ words | map('truncate', 2, true, '') | list }}", "['beta', 'Alpha', 'alpha']"},
      {"{{ [[1, 2], [3]] | map('length') | list }}", "[2, 1]"},
      {"{{ [[1, 2], [3]] | map('first') | sum }}", "4"},
  });
}

TEST(TemplateLibraryTest, FiltersOfNumbers) {
  ExpectTexts({
      {"{{ 2.5 | round }} {{ 3.5 | round }} {{ -2.5 | round }}", "2.0 4.0 -2.0"},
      {"{{ 2.345 | round(2) }} {{ 2.1 | round(0, 'ceil') }}", "2.35 3.0"},
      {"{{ 2.9 | round(method='floor') }} {{ 7 | round }}", "2.0 7"},
      {"{{ -3 | abs }} {{ -2.5 | abs }} {{ '42' | int }}", "3 2.5 42"},
      {"{{ 'x' | int }} {{ 'x' | int(7) }}", "0 7"},
      {"{{ '0x1F' | int(0, 16) }} {{ '101' | int(base=2) }}", "31 5"},
      {"{{ 3.9 | int }} {{ '3.9' | int }} {{ none | int }}", "3 3 0"},
      {"{{ '1.5' | float }} {{ 'x' | float }}", "1.5 0.0"},
      {"{{ 'x' | float(2.5) }} {{ 2 | float }} {{ ' 3 ' | int }}", "2.5 2.0 3"},
  });
}

TEST(TemplateLibraryTest, FiltersOfTexts) {
  ExpectTexts({
      {"{{ s | upper }} {{ s | lower }}", "HELLO WORLD hello world"},
      {"{{ 'hELLO wORLD' | title }}", "Hello World"},
      {"{{ 'hELLO wORLD' | capitalize }}", "Hello world"},
      {"{{ '  a b ' | trim }}| {{ 'xxaxx' | trim('x') }}", "a b| a"},
      {"{{ s | replace('l', 'L') }}", "HeLLo WorLd"},
      {"{{ s | replace('l', 'L', 1) }} {{ s | wordcount }}", "HeLlo World 2"},
      {"{{ 'ab' | center(6) }}| {{ text | indent(2) }}", "  ab  | one two\n  three"},
      {"{{ text | indent('> ', first=true) }}", "> one two\n> three"},
      {"{{ 'a longer text than this' | truncate(12) }}", "a longer..."},
      {"{{ 'a longer text than this' | truncate(12, true) }}", "a longer ..."},
      {"{{ 'abc' | truncate(12) }}", "abc"},
      {"{{ 'foo bar baz' | truncate(9, false, '!') }}", "foo bar baz"},
      {R"({{ '<a&"b">' | e }} {{ 'x' | string }} {{ 5 | string }})", "&lt;a&amp;&#34;b&#34;&gt; x 5"},
      {"{{ '%s-%d' | format('a', 3) }}", "a-3"},
  });
}

TEST(TemplateLibraryTest, FiltersOfJson) {
  ExpectTexts({
      {"{{ d | tojson }}", R"({"b": 1, "a": 2})"},
      {R"({{ [1, 2.5, true, none, 'a"b'] | tojson }})", R"([1, 2.5, true, null, "a\"b"])"},
      {"{{ d | tojson(indent=2) }} {{ e | tojson }}", "{\n  \"b\": 1,\n  \"a\": 2\n} []"},
      {"{{ {} | tojson }}", "{}"},
      {"{{ 'café 😀' | tojson }}", R"("café 😀")"},
      {"{{ 'café 😀' | tojson(ensure_ascii=true) }}", R"("caf\u00e9 \ud83d\ude00")"},
      {"{{ [1, [2, {'a': [3]}]] | tojson(indent=1) }}",
       "[\n 1,\n [\n  2,\n  {\n   \"a\": [\n    3\n   ]\n  }\n ]\n]"},
      {"{{ d | tojson(separators=(',', ':')) }}", R"({"b":1,"a":2})"},
      {"{{ d | tojson(sort_keys=true) }}", R"({"a": 2, "b": 1})"},
      {"{{ {1: 'a', none: 2, true: 3} | tojson }}", R"({"1": 3, "null": 2})"},
      {"{{ 1e300 * 1e10 }} {{ [1e300 * 1e10] | tojson }}", "inf [Infinity]"},
  });
}

TEST(TemplateLibraryTest, MethodsOfTexts) {
  ExpectTexts({
      {"{{ s.upper() }} {{ s.lower() }} {{ s.title() }}", "HELLO WORLD hello world Hello World"},
      {"{{ s.swapcase() }} {{ s.capitalize() }}", "hELLO wORLD Hello world"},
      {"{{ 'Straße'.casefold() }}", "strasse"},
      {"{{ s.startswith('He') }} {{ s.endswith('ld') }}", "True True"},
      {"{{ s.startswith(('x', 'H')) }} {{ s.find('o') }}", "True 4"},
      {"{{ s.rfind('o') }} {{ s.find('o', 5) }}", "7 7"},
      {"{{ s.find('zz') }} {{ s.count('l') }}", "-1 3"},
      {"{{ s.count('l', 4) }} {{ s.index('W') }}", "1 6"},
      {"{{ s.split() }} {{ s.split('o') }} {{ s.split('o', 1) }}",
       "['Hello', 'World'] ['Hell', ' W', 'rld'] ['Hell', ' World']"},
      {"{{ s.rsplit('o', 1) }} {{ ' a  b '.split() }}", "['Hello W', 'rld'] ['a', 'b']"},
      {R"({{ 'a,,b'.split(',') }} {{ 'a\nb\r\nc'.splitlines() }})", "['a', '', 'b'] ['a', 'b', 'c']"},
      {R"({{ 'a\nb\n'.splitlines(true) }})", R"(['a\n', 'b\n'])"},
      {"{{ s.partition(' ') }} {{ s.rpartition('o') }}", "('Hello', ' ', 'World') ('Hello W', 'o', 'rld')"},
      {"{{ s.partition('zz') }} {{ '-'.join(['a', 'b']) }}", "('Hello World', '', '') a-b"},
      {"{{ 'xax'.strip('x') }} {{ 'xax'.lstrip('x') }}", "a ax"},
      {"{{ 'xax'.rstrip('x') }}", "xa"},
      {"{{ 'ab'.ljust(4, '.') }} {{ 'ab'.rjust(4, '.') }}", "ab.. ..ab"},
      {"{{ 'ab'.center(5, '.') }} {{ '-5'.zfill(4) }}", "..ab. -005"},
      {R"({{ 'a\tb'.expandtabs(4) }})", "a   b"},
      {"{{ 'prefix-x'.removeprefix('prefix-') }}", "x"},
      {"{{ 'x.py'.removesuffix('.py') }}", "x"},
      {"{{ s.replace('o', '0') }} {{ s.replace('o', '0', 1) }}", "Hell0 W0rld Hell0 World"},
      {"{{ '12'.isdigit() }} {{ 'ab'.isalpha() }}", "True True"},
      {"{{ ' '.isspace() }} {{ 'AB'.isupper() }}", "True True"},
      {"{{ 'ab'.islower() }} {{ 'Ab Cd'.istitle() }}", "True True"},
      {"{{ '12'.isdecimal() }} {{ 'a'.isascii() }}", "True True"},
      {"{{ ''.isalpha() }} {{ 'a b'.isprintable() }} ", "False True "},
      {"{{ 'ΑΣ'.lower() }} {{ 'İ'.lower() }} {{ 'ﬃ'.upper() }}", "ας i̇ FFI"},
      {"{{ 'ǆ'.title() }}", "ǅ"},
  });
}

TEST(TemplateLibraryTest, MethodsOfListsAndDicts) {
  ExpectTexts({
      {"{{ l.count(1) }} {{ l.index(2) }} {{ l.copy() }}", "1 2 [3, 1, 2]"},
      {"{{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 5) }}", "2 None 5"},
      {"{{ d.keys() | list }} {{ d.values() | list }}", "['b', 'a'] [1, 2]"},
      {"{{ d.items() | list }} {{ d.copy() }}", "[('b', 1), ('a', 2)] {'b': 1, 'a': 2}"},
      {"{{ (1, 1).count(1) }} {{ d.keys() }} {{ d.values() }}",
       "2 dict_keys(['b', 'a']) dict_values([1, 2])"},
      {"{% for k in d %}{{ k }}{% endfor %}", "ba"},
      {"{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %} {{ d.items() | length }} {{ dict([('a', 1)], "
       "b=2) }} {{ dict(c=1, **d) }}",
       "b1a2 2 {'a': 1, 'b': 2} {'c': 1, 'b': 1, 'a': 2}"},
  });
}

}  // namespace
}  // namespace hydrad
