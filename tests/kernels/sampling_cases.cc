#include "tests/kernels/sampling_cases.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>

#include "kernels/philox.h"
#include "server/base/check.h"
#include "server/front/make_request.h"
#include "server/front/validate.h"
#include "server/rpc/from_proto.h"

namespace hydrad {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Floats in their order as integers: -0 is -1, 0 is 0.
int32_t PlaceOf(float x) {
  const auto bits = std::bit_cast<int32_t>(x);
  return bits < 0 ? std::numeric_limits<int32_t>::min() - bits - 1 : bits;
}
float FloatAt(int64_t place) {
  const auto at = static_cast<int32_t>(place);
  return std::bit_cast<float>(at < 0 ? std::numeric_limits<int32_t>::min() - at - 1 : at);
}

// A field of Sampling, as an integer of the same order.
void Set(v1::Sampling* sampling, const FieldDescriptor& field, int64_t place) {
  const auto& reflection = *sampling->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.SetFloat(sampling, &field, FloatAt(place));
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(sampling, &field, static_cast<int32_t>(place));
    default:
      HYDRAD_CHECK(field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64);
      return reflection.SetUInt64(sampling, &field, static_cast<uint64_t>(place) * 0x9E3779B97F4A7C15);
  }
}
void SetBias(v1::Sampling* sampling, int64_t place) { (*sampling->mutable_logit_bias())[0] = FloatAt(place); }

struct Ends {
  int64_t low, high;
};

// Of the values that the validator takes, around `valid`, which it takes.
template <class Put>
Ends FindEnds(int64_t valid, const Put& put) {
  const auto taken = [&](int64_t place) {
    v1::GenerateRequest request;
    request.set_text("x");
    put(request.mutable_sampling(), place);
    return Validate(FromProto(request), {.vocab_size = 1, .max_context = 1}).ok();
  };
  HYDRAD_CHECK(taken(valid));
  const auto end = [&](int64_t inside, int64_t outside) {
    if (taken(outside)) return outside;
    while (std::abs(outside - inside) > 1) {
      const int64_t middle = inside + (outside - inside) / 2;
      (taken(middle) ? inside : outside) = middle;
    }
    return inside;
  };
  return {end(valid, std::numeric_limits<int32_t>::min()), end(valid, std::numeric_limits<int32_t>::max())};
}

const std::map<const FieldDescriptor*, Ends>& FieldEnds() {
  static const auto ends = [] {
    std::map<const FieldDescriptor*, Ends> found;
    const auto& descriptor = *v1::Sampling::descriptor();
    for (int i = 0; i < descriptor.field_count(); ++i) {
      const FieldDescriptor& field = *descriptor.field(i);
      if (field.is_map()) continue;
      const bool is_float = field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT;
      found[&field] = FindEnds(is_float ? PlaceOf(1) : 1, [&field](v1::Sampling* sampling, int64_t place) {
        Set(sampling, field, place);
      });
    }
    return found;
  }();
  return ends;
}
Ends BiasEnds() {
  static const Ends ends = FindEnds(PlaceOf(1), SetBias);
  return ends;
}

int64_t Within(Choices& choices, Ends ends, bool is_float) {
  const auto span = static_cast<uint64_t>(ends.high - ends.low);
  switch (choices.Below(6)) {
    case 0:
      return ends.low;
    case 1:
      return ends.high;
    case 2:
      return ends.low + std::min<int64_t>(choices.Below(3), ends.high - ends.low);
    case 3:
      return ends.high - std::min<int64_t>(choices.Below(3), ends.high - ends.low);
    case 4:
      if (is_float) {  // everyday numbers
        const float part = static_cast<float>(choices.Byte()) / 64;
        return std::clamp<int64_t>(PlaceOf(part), ends.low, ends.high);
      }
      return std::clamp<int64_t>(choices.Byte(), ends.low, ends.high);
    default:
      return ends.low + static_cast<int64_t>(choices.Word() % (span + 1));  // for floats: every exponent
  }
}

v1::Sampling MakeSampling(Choices& choices, int vocab) {
  v1::Sampling sampling;
  for (const auto& [field, ends] : FieldEnds()) {
    if (choices.OneIn(3)) continue;
    Set(&sampling, *field, Within(choices, ends, field->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT));
  }
  if (choices.OneIn(2)) return sampling;
  const int biases = choices.OneIn(4) ? std::min(vocab, 1024) : choices.Below(5);
  for (int i = 0; i < biases; ++i) {
    (*sampling.mutable_logit_bias())[choices.Below(vocab)] =
        FloatAt(Within(choices, BiasEnds(), /*is_float=*/true));
  }
  return sampling;
}

// Any float but NaN.
float AnyFloat(uint64_t word) {
  const float x = std::bit_cast<float>(static_cast<uint32_t>(word));
  return std::isnan(x) ? -kInf : x;
}

std::vector<float> MakeLogits(Choices& choices, int vocab) {
  const float size[] = {1e-44f, 1e-30f, 0.1f, 3, 20, 1e4f, 1e30f, 1e38f};
  const float scale = size[choices.Below(8)];
  const int shape = choices.Below(8);
  std::mt19937_64 random(choices.Word());
  std::normal_distribution<float> normal;
  std::vector<float> logits(static_cast<size_t>(vocab));
  for (float& x : logits) {
    const float y = normal(random) * scale;
    x = shape == 0   ? scale                                                       // all equal
        : shape == 1 ? static_cast<float>(static_cast<int>(random() % 4)) * scale  // ties
        : shape == 2 ? (random() % 4 == 0 ? y : -kInf)
        : shape == 3 ? AnyFloat(random())
        : shape == 4 ? (random() % 3 == 0 ? (random() % 2 == 0 ? kLargest : -kLargest) : y)
        : shape == 5 ? -std::fabs(y)
                     : y;
  }
  const int odd = choices.Byte();
  float& one = logits[random() % logits.size()];
  if (odd == 1) one = NAN;
  if (odd == 2) std::fill(logits.begin(), logits.end(), -kInf);
  if (odd == 3) one = kInf;
  if (odd == 4) one = -0.f;
  if (odd == 5) one = std::clamp(10 * scale, -kLargest, kLargest);
  return logits;
}

std::vector<int32_t> MakeTokens(Choices& choices, int vocab, bool maybe_all) {
  std::vector<int32_t> tokens;
  if (maybe_all && choices.OneIn(4)) {  // all, or all but one
    const int spared = choices.OneIn(4) ? -1 : choices.Below(vocab);
    for (int t = 0; t < vocab; ++t) {
      if (t != spared) tokens.push_back(t);
    }
    return tokens;
  }
  for (int i = choices.Below(12); i > 0; --i) tokens.push_back(choices.Below(vocab));
  return tokens;
}

// Nearly all tokens, any half of them, or nearly none; bits beyond the vocabulary are set at random.
std::vector<uint32_t> MakeMask(Choices& choices, int vocab) {
  std::vector<uint32_t> mask(MaskWords(vocab));
  const int kind = choices.Below(4);
  for (uint32_t& word : mask) {
    word = static_cast<uint32_t>(choices.Word());
    if (kind == 0) word = ~uint32_t{0};
    if (kind == 1) word = 0;
  }
  for (int i = choices.Below(4); i > 0; --i) {
    const int token = choices.Below(vocab);
    mask[static_cast<size_t>(token) / 32] ^= uint32_t{1} << (token % 32);
  }
  return mask;
}

// ---- Whether an answer is right ----

// What rounding to floats may do to the places of a case's tokens in units of its temperature.
struct Rounding {
  std::vector<int32_t> relevant;  // tokens with any weight, likeliest first
  double most = 0;                // relative, of a weight
  bool order = false;             // two relevant ones may change places
};

Rounding RoundingOf(const SamplingCase& c, const std::vector<double>& edited) {
  constexpr double kUnit = 0x1p-24, kNothing = 30;
  const double temperature = c.params.temperature;
  const double max = *std::max_element(edited.begin(), edited.end());
  const auto moved = [&](size_t i) {  // of an edited logit, which is stored as a float
    const double x = edited[i];
    return x == std::min(c.logits[i], kLargest) ? 0 : std::fabs(x) * kUnit + 0x1p-150;
  };
  double of_max = 0;
  for (size_t i = 0; i < edited.size(); ++i) {
    if (edited[i] == max) of_max = std::max(of_max, moved(i));
  }
  Rounding out;
  for (size_t i = 0; i < edited.size(); ++i) {
    if (edited[i] == -kInf) continue;
    const double below = max - edited[i];
    const double by = (moved(i) + of_max + below * 4 * kUnit) / temperature;
    if (below / temperature > by + kNothing && std::fabs(max) <= kLargest) continue;
    if (std::fabs(max) > kLargest && below > 0) continue;
    out.relevant.push_back(static_cast<int32_t>(i));
    out.most = std::max(out.most, by);
  }
  std::stable_sort(out.relevant.begin(), out.relevant.end(),
                   [&](int32_t a, int32_t b) { return edited[a] > edited[b]; });
  for (size_t i = 1; i < out.relevant.size(); ++i) {
    const auto a = static_cast<size_t>(out.relevant[i - 1]), b = static_cast<size_t>(out.relevant[i]);
    const double apart = edited[a] - edited[b];
    out.order |= apart > 0 && apart <= moved(a) + moved(b) + temperature * (64 * kUnit + out.most);
  }
  return out;
}

// How many of the `weights`, which descend from 1, top_p and min_p leave.
size_t CountKept(const std::vector<double>& weights, double top_p, double min_p) {
  double total = 0, mass = 0;
  for (const double w : weights) total += w;
  size_t kept = 0;
  while (kept < weights.size() && weights[kept] >= min_p && (top_p >= 1 || kept == 0 || mass < top_p * total))
    mass += weights[kept++];
  return kept;
}

// Whether roundings of `by` could leave three or more different sets of tokens: what is drawn from the
// smallest and the largest then says nothing of those between.
bool ManyCouldBeKept(const SamplingCase& c, const std::vector<double>& edited, const Rounding& rounding,
                     double by) {
  std::vector<double> weights;
  for (const int32_t t : rounding.relevant) {
    weights.push_back(std::exp((edited[t] - edited[rounding.relevant[0]]) / c.params.temperature));
  }
  const auto kept = [&](double factor) {
    const double top_p = c.params.top_p < 1 ? c.params.top_p * factor : 1;
    return CountKept(weights, top_p, std::min(1.0, c.params.min_p / factor));
  };
  return kept(1 + by) > kept(1 - by) + 1;
}

// Whether `token` is the definition's however the roundings fall.
bool IsClear(const SamplingCase& c, const std::vector<double>& edited, int32_t token) {
  if (c.params.temperature == 0 || c.params.top_k == 1) return true;
  const Rounding rounding = RoundingOf(c, edited);
  if (rounding.relevant.size() == 1) return token == rounding.relevant[0];
  if (rounding.order && (c.params.top_k > 0 || c.params.top_p < 1)) return false;
  const double by = rounding.most + 0x1p-18;
  if (by > 0.01 || ManyCouldBeKept(c, edited, rounding, by)) return false;
  SamplingParams p = c.params;
  SampleRow row = c.row();
  row.params = &p;
  for (const double top_p : {1 - by, 1 + by}) {
    for (const double min_p : {1 - by, 1 + by}) {
      p.top_p = c.params.top_p < 1 ? static_cast<float>(c.params.top_p * top_p) : 1;
      p.min_p = static_cast<float>(std::min(1.0, c.params.min_p * min_p));  // above 1 it keeps nothing
      for (const double u : {-by, by}) {
        const double at = std::clamp(PhiloxUniform(c.seed, c.step) + u, 0.0, 1 - 0x1p-53);
        if (ref::Draw(c.logits, row, at) != token) return false;
      }
    }
  }
  return true;
}

bool Near(float a, float b) {
  return std::isfinite(a) && std::fabs(double{a} - b) <= 4e-6 + 0x1p-22 * std::fabs(double{b});
}

std::string WrongLogprobs(const Sampled& got, const SamplingCase& c) {
  const Sampled want = ref::Score(c.logits, got.token, c.top);
  if (!Near(got.logprob, want.logprob)) return fmt::format("logprob {}, not {}", got.logprob, want.logprob);
  if (got.top.size() != want.top.size()) return fmt::format("{} of {} top", got.top.size(), want.top.size());
  double sum = 0;
  for (size_t i = 0; i < got.top.size(); ++i) {
    if (got.top[i].token != want.top[i].token || !Near(got.top[i].logprob, want.top[i].logprob))
      return fmt::format("top {}: token {} with {}, not {} with {}", i, got.top[i].token, got.top[i].logprob,
                         want.top[i].token, want.top[i].logprob);
    sum += std::exp(double{got.top[i].logprob});
  }
  const bool all = got.top.size() < static_cast<size_t>(c.top) || got.top.size() == c.logits.size();
  if (sum > 1 + 1e-5 || (all && sum < 1 - 1e-5)) return fmt::format("the probabilities sum to {}", sum);
  return "";
}

}  // namespace

uint8_t Choices::Byte() {
  if (endless_) return static_cast<uint8_t>(random_());
  if (bytes_.empty()) return 0;
  const uint8_t first = bytes_[0];
  bytes_ = bytes_.subspan(1);
  return first;
}

uint64_t Choices::Word() {
  if (endless_) return random_();
  uint64_t word = 0;
  for (int i = 0; i < 4; ++i) word = word << 8 | Byte();
  return word;
}

SamplingCase MakeSamplingCase(Choices& choices, int vocab) {
  SamplingCase c;
  v1::GenerateRequest request;
  request.set_text("x");
  *request.mutable_sampling() = MakeSampling(choices, vocab);
  const absl::Status valid = Validate(FromProto(request), {.vocab_size = vocab, .max_context = 1});
  HYDRAD_CHECK(valid.ok());
  c.params = ParamsOf(FromProto(request.sampling()));
  c.seed = request.sampling().seed() + static_cast<uint64_t>(request.sampling().n());
  c.step = choices.Byte();
  c.logits = MakeLogits(choices, vocab);
  c.prompt = MakeTokens(choices, vocab, /*maybe_all=*/true);
  c.generated = MakeTokens(choices, vocab, /*maybe_all=*/true);
  if (choices.OneIn(2)) c.banned = MakeTokens(choices, vocab, /*maybe_all=*/true);
  if (choices.OneIn(2)) c.allowed = MakeMask(choices, vocab);
  const int top[] = {-1, 0, 5, 20, vocab};
  c.top = top[choices.Below(5)];
  return c;
}

std::string WrongWith(const Sampled& got, const SamplingCase& c) {
  const Sampled want = ref::Sample(c.logits, c.row());
  if (want.token < 0) return got.token == -1 ? "" : fmt::format("token {} of nothing", got.token);
  if (got.token < 0 || static_cast<size_t>(got.token) >= c.logits.size())
    return fmt::format("token {}, not {}", got.token, want.token);
  const std::vector<double> edited = ref::EditedLogits(c.logits, c.row());
  if (edited[static_cast<size_t>(got.token)] == -kInf)
    return fmt::format("token {} may not be drawn", got.token);
  if (got.token != want.token && IsClear(c, edited, want.token))
    return fmt::format("token {}, not {}", got.token, want.token);
  return c.top < 0 ? "" : WrongLogprobs(got, c);
}

std::string Describe(const SamplingCase& c) {
  const SamplingParams& p = c.params;
  std::string biases;
  for (const auto& b : p.logit_bias) biases += fmt::format(" {}:{}", b.token, b.bias);
  return fmt::format(
      "temperature {} top_p {} top_k {} min_p {} repetition {} presence {} frequency {} bias{}; seed {} step "
      "{} "
      "top {}; prompt [{}] generated [{}] banned [{}] allowed [{:x}]; logits [{}]",
      p.temperature, p.top_p, p.top_k, p.min_p, p.repetition_penalty, p.presence_penalty, p.frequency_penalty,
      biases, c.seed, c.step, c.top, fmt::join(c.prompt, " "), fmt::join(c.generated, " "),
      fmt::join(c.banned, " "), fmt::join(c.allowed, " "), fmt::join(c.logits, " "));
}

}  // namespace hydrad
