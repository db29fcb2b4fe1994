// The language of chat templates: operators, statements and formats. What is expected is what jinja2 renders.
#include "server/text/chat_template.h"

#include <gtest/gtest.h>

#include "tests/text/template_cases.h"

namespace hydrad {
namespace {

TEST(TemplateLanguageTest, OperatorsOfNumbers) {
  ExpectTexts({
      {"{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }}", "3 -4 1 2"},
      {"{{ 7 / 2 }} {{ 2 ** 3 }} {{ 2 ** -1 }}", "3.5 8 0.5"},
      {"{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ f * 2 }} {{ n - f }}", "3.0 0.5 5.0 0.5"},
      {"{{ +n }} {{ -n }} {{ -f }}", "3 -3 -2.5"},
      {"{{ 1 + true }} {{ true * 3 }} {{ 10 ** 2 - 1 }}", "2 3 99"},
      {"{{ 2 ** 0.5 }}", "1.4142135623730951"},
      {"{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e-5 }} {{ 1.0 }}", "0.30000000000000004 1e+16 1e-05 1.0"},
      {"{{ 123456789.0 }} {{ 1e22 }}", "123456789.0 1e+22"},
  });
}

TEST(TemplateLanguageTest, OperatorsOfTextsAndLists) {
  ExpectTexts({
      {"{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }}", "ab ababab ababab"},
      {"{{ 'a' ~ 1 ~ none ~ [1] }}", "a1None[1]"},
      {"{{ [1] + [2, 3] }} {{ [0] * 3 }} {{ (1, 2) + (3,) }}", "[1, 2, 3] [0, 0, 0] (1, 2, 3)"},
      {"{{ l + [] }}", "[3, 1, 2]"},
      {"{{ 'ab' * 0 }}|{{ 'ab' * -1 }}", "|"},
  });
}

TEST(TemplateLanguageTest, Comparisons) {
  ExpectTexts({
      {"{{ 1 < 2 }} {{ 2 <= 1 }} {{ 'a' < 'b' }}", "True False True"},
      {"{{ 'a' >= 'B' }} {{ [1, 2] < [1, 3] }}", "True True"},
      {"{{ [1] < [1, 0] }}", "True"},
      {"{{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' != 'b' }}", "True True True"},
      {"{{ [1] == [1.0] }} {{ (1, 2) == [1, 2] }}", "True False"},
      {"{{ {'a': 1} == {'a': 1.0} }}", "True"},
      {"{{ 1 < n < 5 }} {{ 1 < n > 5 }} {{ 3 == n == f }}", "True False False"},
      {"{{ 'ell' in s }} {{ 'x' not in s }} {{ 1 in l }}", "True True True"},
      {"{{ 9 in l }} {{ 'a' in d }} {{ 1 in d }}", "False True False"},
      {"{{ 2 in (1, 2) }} {{ none in [none] }}", "True True"},
      {"{{ none == none }}", "True"},
      {"{{ undefined_name == undefined_name }} {{ 1 == '1' }}", "True False"},
  });
}

TEST(TemplateLanguageTest, Logic) {
  ExpectTexts({
      {"{{ 0 or 'x' }} {{ 1 and 'y' }}", "x y"},
      {"{{ '' or [] or {} or 'z' }} {{ 0 and missing.x }}", "z 0"},
      {"{{ 1 or missing.x }}", "1"},
      {"{{ not 0 }} {{ not 'a' }} {{ not not t }}", "True False True"},
      {"{{ not 1 == 2 }}", "True"},
      {"{{ 'yes' if n > 2 else 'no' }}", "yes"},
      {"{{ 'yes' if n > 5 }}| {{ 1 if 0 else 2 if 0 else 3 }}", "| 3"},
      {"{{ 'a' if none else 'b' }} {{ 'a' if 0.0 else 'b' }}", "b b"},
      {"{{ 'a' if [0] else 'b' }}", "a"},
  });
}

TEST(TemplateLanguageTest, Subscripts) {
  ExpectTexts({
      {"{{ l[0] }} {{ l[-1] }} {{ l[9] is defined }}", "3 2 False"},
      {"{{ d['b'] }} {{ d.b }} {{ d.zz is defined }} {{ s[0] }}", "1 1 False H"},
      {"{{ s[-1] }}", "d"},
      {"{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }}", "[1, 2] [3, 1] [2, 1, 3] [3, 2]"},
      {"{{ s[2:5] }} {{ s[::-2] }} {{ l[5:] }}", "llo drWolH []"},
      {"{{ (1, 2, 3)[1:] }} {{ l[-2:] }}", "(2, 3) [1, 2]"},
      {"{{ deep.x[0].y }} {{ deep['x'][0]['y'] }}", "5 5"},
      {"{{ people[1].name }} {{ {1: 'one'}[1] }}", "bob one"},
      {"{{ {'a': {'b': 2}}.a.b }}", "2"},
      {"{{ range(10)[2] }} {{ range(10)[1:8:3] | list }}", "2 [1, 4, 7]"},
  });
}

TEST(TemplateLanguageTest, Tests) {
  ExpectTexts({
      {"{{ n is number }} {{ s is string }} {{ l is sequence }}", "True True True"},
      {"{{ d is mapping }} {{ l is iterable }}", "True True"},
      {"{{ none is none }} {{ t is boolean }} {{ n is integer }}", "True True True"},
      {"{{ f is float }} {{ t is true }} {{ t is false }}", "True True False"},
      {"{{ raise_exception is callable }}", "True"},
      {"{{ 4 is even }} {{ 4 is odd }} {{ 9 is divisibleby 3 }}", "True False True"},
      {"{{ n is eq 3 }} {{ n is ne(3) }} {{ n is gt 2 }}", "True False True"},
      {"{{ n is ge 3 }} {{ n is lt 2 }} {{ n is le 3 }}", "True False True"},
      {"{{ n is in l }} {{ 'a' is lower }} {{ 'A' is upper }}", "True True True"},
      {"{{ n is sameas n }}", "True"},
      {"{{ missing is defined }} {{ missing is undefined }}", "False True"},
      {"{{ n is not none }} {{ 'trim' is filter }}", "True True"},
      {"{{ 'odd' is test }} {{ 'zz' is filter }}", "True False"},
      {"{{ 1.0 is number }} {{ true is number }}", "True True"},
      {"{{ true is integer }} {{ d is iterable }}", "False True"},
      {"{{ d is sequence }}", "True"},
  });
}

TEST(TemplateLanguageTest, Loops) {
  ExpectTexts({
      {"{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ "
       "loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}",
       "1032TrueFalse310 2121FalseFalse310 3210FalseTrue310 "},
      {"{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "<3>1 3<1>2 1<2> "},
      {"{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}", "TrueFalseTrue"},
      {"{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "aba"},
      {"{% for i in e %}x{% else %}empty{% endfor %}", "empty"},
      {"{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{% endfor %}", "3222"},
      {"{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "32"},
      {"{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"},
      {"{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}", "1234"},
      {"{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "123"},
      {"{% for c in 'ab' %}{{ c }};{% endfor %} {{ range(5, 0, -2) | list }} {{ range(3) }}",
       "a;b; [5, 3, 1] range(0, 3)"},
      {"{% for p in [{'v': 1, 'c': [{'v': 2, 'c': []}]}] recursive %}{{ p.v }}({{ loop(p.c) }}){{ loop.depth "
       "}}{% endfor %}",
       "1(2()2)1"},
      {"{% for i in [1, 2] %}{% for j in 'ab' %}{{ i }}{{ j }}{% endfor %}{% endfor %}", "1a1b2a2b"},
      {"{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "1"},
      {"{% set ns = namespace(c=0, **{'k': 2}) %}{% for i in l %}{% set ns.c = ns.c + i %}{% endfor %}{{ "
       "ns.c }}{{ ns.k }}",
       "62"},
      {"{% set a, b = 1, 2 %}{{ a }}{{ b }}", "12"},
      {"{% set c %}x{{ n }}{% endset %}{{ c }}", "x3"},
      {"{% set u | upper %}ab{% endset %}{{ u }}", "AB"},
  });
}

TEST(TemplateLanguageTest, MacrosAndBlocks) {
  ExpectTexts({
      {"{% macro m(a, b='x', c=n) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 2, 3) }} {{ m(c=1, "
       "a=2) }} {{ m() }}",
       "1x3 123 2x1 x3"},
      {"{% macro v(a) %}{{ varargs }}{{ kwargs }}{{ a }}{% endmacro %}{{ v(1, 2, 3, k=4) }} {{ v(*[1, 2], "
       "**{'z': 3}) }}",
       "(2, 3){'k': 4}1 (2,){'z': 3}1"},
      {"{% macro w() %}[{{ caller() }}]{% endmacro %}{% call w() %}in{% endcall %}", "[in]"},
      {"{% macro w2() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) w2() %}{{ a }}-{{ b }}{% endcall %}",
       "1-2"},
      {"{% if n == 1 %}a{% elif n == 3 %}b{% else %}c{% endif %}", "b"},
      {"{% with x = 5, y = 6 %}{{ x }}{{ y }}{% endwith %}{{ x is defined }}", "56False"},
      {"{% filter upper | replace('A', 'o') %}abc{% endfilter %} {# a comment #}{% raw %}{{ raw }}{% endraw "
       "%} {% generation %}g{% endgeneration %}",
       "oBC {{ raw }} g"},
      {"{%- if t -%}  stripped  {%- endif -%} x {{- ' y ' -}} z {%+ if t %}k{% endif %}", "strippedx y z k"},
      {R"({{ 'a' 'b' }} {{ "q'q" }} {{ 'n\nl' }})", "ab q'q n\nl"},
      {R"({{ '\x41\u0042' }} {{ 1_000 }} {{ 0x1f }} {{ 0b11 }})", "AB 1000 31 3"},
      {"{{ 0o17 }} {{ 1.5e3 }}", "15 1500.0"},
      {"{{ namespace(a=1).a }} {{ [1, 2,] }} {{ (1,) }} {{ () }}", "1 [1, 2] (1,) ()"},
      {R"({{ {} }} {{ {'a': [1, (2, 'b')]} }} {{ 'it\'s' }})", "{} {'a': [1, (2, 'b')]} it's"},
      {R"({{ ['it\'s', "q\"", 'a\nb'] }} {{ none }} {{ true }})", R"(["it's", 'q"', 'a\nb'] None True)"},
  });
}

TEST(TemplateLanguageTest, Formats) {
  ExpectTexts({
      {"{{ '%d|%5d|%-5d|%05d|%+d|%x|%X|%o|%#x' % (42, 42, 42, 42, 42, 255, 255, 8, 255) }}",
       "42|   42|42   |00042|+42|ff|FF|10|0xff"},
      {"{{ '%s %r %%' % ('a', 'b') }}", "a 'b' %"},
      {"{{ '%.2f|%8.3f|%e|%g|%G' % (3.14159, 2.5, 12345.678, 0.00001, 1e20) }}",
       "3.14|   2.500|1.234568e+04|1e-05|1E+20"},
      {"{{ '%(a)s-%(b)03d' % {'a': 1, 'b': 2} }}", "1-002"},
      {"{{ '%.3s' % 'abcdef' }} {{ '% d' % 5 }}", "abc  5"},
      {"{{ '{} {}'.format(1, 'a') }}", "1 a"},
      {"{{ '{1}{0}'.format('a', 'b') }}", "ba"},
      {"{{ '{x}{y.k}'.format(x=1, y={'k': 2}) is defined }}", "True"},
      {"{{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }}", "    a|b    |  c  |***d***"},
      {"{{ '{:d} {:05d} {:+d} {:,} {:x} {:#b} {:o}'.format(1, 42, 7, 1234567, 255, 5, 8) }}",
       "1 00042 +7 1,234,567 ff 0b101 10"},
      {"{{ '{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25) }}",
       "3.14    2.500 1.234568e+04 0.0001 25.000000%"},
      {"{{ '{{}} {0!r} {0!s}'.format('q') }}", "{} 'q' q"},
      {"{{ '{0[a]}'.format({'a': 5}) }}", "5"},
  });
}

}  // namespace
}  // namespace hydrad
