// A form of answers that betrays a scheduler which draws what is not allowed, or too early.
#ifndef HYDRAD_TESTS_FAKES_FAKE_FORM_H_
#define HYDRAD_TESTS_FAKES_FAKE_FORM_H_

#include <climits>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "server/base/check.h"
#include "server/base/status.h"
#include "server/text/answer_form.h"
#include "tests/fakes/test_tokenizer.h"

namespace hydrad {

// What is allowed next is a hash of all tokens so far: some of the test tokenizer's, and now and then, or
// alone, its end token. A mask is there when it has been asked for `calls` times.
class FakeForm final : public AnswerGrammar {
 public:
  explicit FakeForm(uint64_t salt, int calls = 1, int fails_after = INT_MAX)
      : salt_(salt), calls_(calls), fails_after_(fails_after) {}

  std::unique_ptr<AnswerMatcher> Start(int) override {
    return std::make_unique<Matcher>(salt_, calls_, fails_after_);
  }
  // Whether an answer that has ended with an end token has the form; the end token is not in it.
  bool IsOf(std::span<const int32_t> answer) const {
    uint64_t state = salt_;
    for (const int32_t token : answer) {
      if (!Allowed(state).contains(token)) return false;
      state = After(state, token);
    }
    return Allowed(state).contains(token::kEnd);
  }
  // Whether it is at least the beginning of one.
  bool Begins(std::span<const int32_t> answer) const {
    uint64_t state = salt_;
    for (const int32_t token : answer) {
      if (!Allowed(state).contains(token)) return false;
      state = After(state, token);
    }
    return true;
  }

  static uint64_t After(uint64_t state, int32_t token) {
    const uint64_t x = (state ^ static_cast<uint64_t>(token + 1)) * 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
  }
  static std::set<int32_t> Allowed(uint64_t state) {
    std::set<int32_t> tokens;
    if (state % 3 == 0) tokens.insert(token::kEnd);
    if (state % 12 != 0) {
      for (int32_t t = 0; t <= token::kDot; ++t) {
        if (state >> (t + 8) & 1) tokens.insert(t);
      }
      tokens.insert(static_cast<int32_t>(state % token::kSpace));
    }
    return tokens;
  }

 private:
  class Matcher final : public AnswerMatcher {
   public:
    Matcher(uint64_t state, int calls, int fails_after)
        : state_(state), calls_(calls), fails_after_(fails_after) {}
    bool Ready(TimePoint) override {
      ++asked_;
      return asked_ >= calls_;
    }
    absl::StatusOr<std::span<const uint32_t>> Mask() const override {
      HYDRAD_CHECK(asked_ >= calls_);
      if (accepted_ >= fails_after_) return ResourceExhausted("too slow");
      mask_.assign(1, 0);
      for (const int32_t token : Allowed(state_)) mask_[0] |= uint32_t{1} << token;
      return std::span<const uint32_t>(mask_);
    }
    void Accept(int32_t token) override {
      HYDRAD_CHECK(asked_ >= calls_ && token != token::kEnd && Allowed(state_).contains(token));
      state_ = After(state_, token);
      asked_ = 0;
      ++accepted_;
    }

   private:
    uint64_t state_;
    const int calls_, fails_after_;
    int asked_ = 0, accepted_ = 0;
    mutable std::vector<uint32_t> mask_;
  };

  const uint64_t salt_;
  const int calls_, fails_after_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_FORM_H_
