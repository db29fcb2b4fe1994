// What a request changes in a row of logits before the draw: one list, made on the host, which every device
// applies in double. There no product, quotient or sum of what a request may ask for leaves the range, and
// different logits stay different; the row itself is of floats.
#ifndef HYDRAD_KERNELS_SAMPLING_EDITS_H_
#define HYDRAD_KERNELS_SAMPLING_EDITS_H_

#include <cstddef>
#include <limits>
#include <vector>

#include "kernels/sampling.h"

namespace hydrad {

// One change of one logit.
struct LogitEdit {
  // kAdd: + value. kRepetition: a positive logit is divided by value, another multiplied. kBan: -infinity.
  enum class Op : int32_t { kAdd, kRepetition, kBan };
  int32_t token;
  Op op;
  float value;
  float before;  // whoever applies the edits keeps the logit here, with the first of the token's, to put it
                 // back
};

// Appends the edits of a draw over `vocab` tokens. Ids outside of it are left out, and so are tokens that the
// row does not allow: whoever draws passes those over, whatever they have. All of a token's stand
// together, in the order in which they apply; tokens ascend.
void ListEdits(const SampleRow& row, int vocab, std::vector<LogitEdit>* edits);

// Whether the edit is its token's first.
constexpr bool IsFirstEdit(const LogitEdit* edits, int begin, int i) {
  return i == begin || edits[i - 1].token != edits[i].token;
}

// What becomes of `logit`, for which edit i is the first; the list ends at `end`. Never NaN, and infinite
// only if a ban or the logit is. REQUIRES: logit is not NaN; repetition values are positive, and all are
// finite.
constexpr double Edited(const LogitEdit* edits, int i, int end, float logit) {
  double x = logit;
  for (const int token = edits[i].token; i < end && edits[i].token == token; ++i) {
    const double value = edits[i].value;
    switch (edits[i].op) {
      case LogitEdit::Op::kAdd:
        x += value;
        break;
      case LogitEdit::Op::kRepetition:
        x = x > 0 ? x / value : x * value;
        break;
      case LogitEdit::Op::kBan:
        x = -std::numeric_limits<double>::infinity();
        break;
    }
  }
  return x;
}

}  // namespace hydrad

#endif  // HYDRAD_KERNELS_SAMPLING_EDITS_H_
