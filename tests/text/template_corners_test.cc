// The corners of the language of chat templates: what is expected is what jinja2 renders, and refuses.
#include "server/text/chat_template.h"

#include <gtest/gtest.h>

#include "tests/text/template_cases.h"

namespace hydrad {
namespace {

TEST(TemplateCornersTest, OfValues) {
  ExpectTexts({
      {"{{ range(3) == range(0, 3) }} {{ 2 in range(3) }}", "True True"},
      {"{{ 5 in range(3) }} {{ 1 in d.values() }}", "False True"},
      {"{{ 3 in (l | map('abs')) }} {{ 9 in (l | map('abs')) }}", "True False"},
      {"{{ 'a' in missing }}", "False"},
      {"{{ d.keys() == dict(a=0, b=0).keys() }}", "True"},
      {"{{ d.keys() == dict(a=0).keys() }}", "False"},
      {"{{ d.items() == dict(a=2, b=1).items() }}", "True"},
      {"{{ d.items() == dict(a=1, b=1).items() }}", "False"},
      {"{{ d.values() == d.values() }}", "False"},
      {"{{ dict().keys() == dict().items() }}", "True"},
      {"{{ range(1, 9, 2) }} {{ range(2, 5) }}", "range(1, 9, 2) range(2, 5)"},
      {R"({{ ['\r\t\x07\x85\u2028'] }} {{ ['\U0001f600'] }})", R"(['\r\t\x07\x85\u2028'] ['😀'])"},
      {"{{ s | attr('zz') }} {{ d | attr('a') }}", " "},
      {"{{ d | attr('b') is defined }}", "False"},
      {"{{ l | map(attribute=0) | list is defined }}", "True"},
      {"{{ [[1, 2], [3, 4]] | map(attribute=1) | list }}", "[2, 4]"},
      {"{{ '%E %F %e' % (12345.678, 2.5, 0) }}", "1.234568E+04 2.500000 0.000000e+00"},
      {"{{ '%#.0f %#g' % (2.0, 3.0) }}", "2. 3.00000"},
      {"{{ '{:E} {:F} {:G}'.format(12345.678, 2.5, 1e20) }}", "1.234568E+04 2.500000 1E+20"},
      {"{{ '%f %F' % (1e300 * 1e10, 1e300 * 1e10) }}", "inf INF"},
      {"{{ '{:f} {:F}'.format(f * 1e308, -f * 1e308) }}", "inf -INF"},
      {"{{ '{:,}'.format(1234567.5) }}", "1,234,567.5"},
      {"{{ '{:,.2f}'.format(1234567.5) }}", "1,234,567.50"},
      {"{{ '{:+.1f} {: .1f} {:=+8.1f}'.format(2.5, 2.5, 2.5) }}", "+2.5  2.5 +    2.5"},
      {"{{ '{:#x} {:#o} {:X}'.format(255, 8, 255) }}", "0xff 0o10 FF"},
      {"{{ '{0[0]} {0[1]}'.format([5, 6]) }}", "5 6"},
      {"{{ 0 % -5.0 }} {{ -0.0 }} {{ 7 % -3 }} {{ -7 // -2 }}", "-0.0 -0.0 -2 3"},
      {"{{ 0.0 ** 0 }} {{ (-8) ** 3 }} {{ 5 // 0.3 }}", "1.0 -512 16.0"},
      {"{{ 1e308 * 10 }} {{ -1e308 * 10 }}", "inf -inf"},
      {"{{ '1_000' | int }} {{ '_1' | int }} {{ '1__0' | int }}", "1000 0 0"},
      {"{{ '0b11' | int(0, 2) }} {{ '0o17' | int(0, 8) }}", "3 15"},
      {"{{ '0x1f' | int(0, 0) }} {{ '012' | int(5, 0) }}", "31 12"},
      {"{{ '+7' | int }} {{ '-7' | int }} {{ 'inf' | float }}", "7 -7 inf"},
      {"{{ 'nan' | float }} {{ '1e3' | float }}", "nan 1000.0"},
      {"{{ '1_0.5' | float }}", "10.5"},
      {"{{ '<a>' | safe | e }} {{ ('<a>' | e) ~ '<b>' }}", "<a> &lt;a&gt;<b>"},
      {"{{ '<a>' | safe | string }}", "<a>"},
      {"{{ ['<a>', '<b>'] | join('<') }}", "<a><<b>"},
      {"{{ ('<a>' | safe) + '<b>' }} {{ '<a>' | forceescape }}", "<a>&lt;b&gt; &lt;a&gt;"},
      {"{{ strftime_now('%%') }}", "%"},
      {R"({{ 'a\u0345\u03a3b' | lower }} {{ '\u03a3' | lower }})", "aͅσb σ"},
      {R"({{ 'a\u03a3.' | lower }} {{ 'a\u03a3.b' | lower }})", "aς. aσ.b"},
      {R"({{ "it's a-b" | title }} {{ "o'neill" | capitalize }})", "It's A-B O'neill"},
      {R"({{ [1, [2]] | tojson(indent='\t') }} {{ l.0 }})", "[\n\t1,\n\t[\n\t\t2\n\t]\n] 3"},
      {R"({{ deep.x.0.y }} {{ '\a\b\f\v\0\101' | length }})", "5 6"},
      {"{{ s[none:none] }} {{ s[:100] }} {{ s[-100:2] }}", "Hello World Hello World He"},
      {"{{ l[true] }} {{ l[-1:-3:-1] }} {{ (1, 2) * 2 }}", "1 [2, 1] (1, 2, 1, 2)"},
      {"{{ [] == () }} {{ {} == {} }}", "False True"},
      {"{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}", "True"},
      {"{{ [d, {'a': 1}] | map(attribute='a') | sum }}", "3"},
      {"{{ [3, 1] | sort | first }} {{ ('b', 'a') | sort }}", "1 ['a', 'b']"},
      {"{{ {'x': none} | dictsort }}", "[('x', None)]"},
      {"{{ [none, 1] | select('none') | list }}", "[None]"},
      {"{{ [[2, 'b'], [1, 'a']] | sort }} {{ [true, 0] | sort }}", "[[1, 'a'], [2, 'b']] [0, True]"},
      {"{{ 'a' is escaped }} {{ ('a' | safe) is escaped }}", "False True"},
      {"{{ 5 is sameas 5.0 }} {{ [] is sameas [] }}", "False False"},
      {"{{ '1' is in '123' }} {{ f is divisibleby 2 }}", "True False"},
  });
}

TEST(TemplateCornersTest, OfErrors) {
  ExpectRefusals({
      {"{{ '%x' % 2.5 }}", "line 1: '%x' needs an integer"},
      {"{{ '%(a' % d }}", "line 1: a broken '%(' in a format"},
      {"{{ '%(zz)s' % d }}", "line 1: a format asks for a key that is not there"},
      {"{{ '{!q}'.format(1) }}", "line 1: format: a conversion that is not supported"},
      {"{{ '{:s}'.format(1) }}", "line 1: the format 's' does not go with an integer"},
      {"{{ '{:5d}'.format(2.5) }}", "line 1: the format 'd' does not go with a float"},
      {"{{ 10.0 ** 400 }}", "line 1: a power that is too large"},
      {"{{ l['x':] }}", "line 1: a slice needs integers, not str"},
      {"{{ d | dictsort(by='zz') }}", "line 1: dictsort: sorts by 'key' or 'value'"},
      {"{{ l | map('abs', attribute='x') | list }}", "line 1: abs: has no parameter 'attribute'"},
      {"{{ l | map(zz=1) | list }}", "line 1: map: needs a filter or an attribute"},
      {"{{ l | selectattr | list }}", "line 1: selectattr: needs an attribute"},
      {"{{ people | map(attribute='name', zz=1) | list }}", "line 1: map: has no parameter 'zz'"},
      {"{{ lipsum }}{{ missing.a.b }}", "line 1: 'missing' is undefined"},
      {"{{ range | tojson }}", "line 1: a value of type function has no JSON"},
      {"{{ missing | attr('x') }}", "line 1: 'missing' is undefined"},
  });
}

// jinja2 goes on here; a prompt would be none.
TEST(TemplateCornersTest, OfWhatIsRefusedByPromise) {
  ExpectRefusals({
      {"{{ '%d' % 1e300 }}", "line 1: a float is too large for %d"},
      {"{{ '{:{}}'.format(1, 2) }}", "line 1: format: fields inside fields are not supported"},
      {"{{ (-8) ** 0.5 }}", "line 1: a power that is no real number"},
      {"{{ 2.5 | round(1000) }}", "line 1: round: a precision below 0 or above 300 is not supported"},
  });
}

}  // namespace
}  // namespace hydrad
