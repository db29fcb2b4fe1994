// Gathers what is wrong with a call; for the validators.
#ifndef HYDRAD_SERVER_FRONT_CHECKER_H_
#define HYDRAD_SERVER_FRONT_CHECKER_H_

#include <fmt/core.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/base/names.h"
#include "server/front/error_details.h"
#include "server/front/validate.h"       // kMaxViolations
#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {

// Every check is one line of a validator: a condition that must hold, and the field that it is about. All
// checks of a call are made, so that its client hears of everything at once; beyond kMaxViolations no more
// are kept. Fields are named by their path in hydrad.v1, as errors name them. One thread.
class Checker {
 public:
  // Notes that the field is wrong; `description` goes on where "field x: " stops.
  void Fail(std::string field, std::string description) {
    if (violations_.size() < kMaxViolations)
      violations_.push_back({std::move(field), std::move(description)});
  }
  // Notes that it is wrong unless `holds`.
  void Expect(bool holds, std::string_view field, std::string_view description) {
    if (!holds) Fail(std::string(field), std::string(description));
  }
  // Checks that `value` is in [low, high]. NaN is in no interval.
  template <class T>
  void Within(T value, T low, T high, std::string_view field) {
    if (!(value >= low && value <= high))
      Fail(std::string(field), fmt::format("must be in [{}, {}]", low, high));
  }
  // Checks that `value` is in (0, high].
  void Positive(float value, float high, std::string_view field) {
    if (!(value > 0 && value <= high)) Fail(std::string(field), fmt::format("must be in (0, {}]", high));
  }
  // Checks that `id` is a token of a vocabulary of `vocab_size`.
  void Token(int32_t id, int vocab_size, std::string field) {
    if (id < 0 || id >= vocab_size) {
      Fail(std::move(field), fmt::format("is {}: the vocabulary has ids 0 to {}", id, vocab_size - 1));
    }
  }
  // Checks that the text is UTF-8 of at most `max_bytes`.
  void Text(std::string_view text, size_t max_bytes, std::string_view field) {
    if (text.size() > max_bytes) {
      Fail(std::string(field), fmt::format("has {} bytes: at most {} are taken", text.size(), max_bytes));
    } else {
      Expect(IsUtf8(text), field, "must be UTF-8");
    }
  }
  // Checks a name by the rule of base/names.h; whether an adapter has it is another question.
  void AdapterName(std::string_view name, std::string_view field) {
    Expect(IsAdapterName(name), field, kAdapterNameRule);
  }
  // Returns OK, or INVALID_ARGUMENT with everything that was noted as its details.
  absl::Status Result() const { return BadFields(violations_); }

 private:
  std::vector<FieldViolation> violations_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_CHECKER_H_
