// A part of a text.
#ifndef HYDRAD_SERVER_TEXT_BYTE_RANGE_H_
#define HYDRAD_SERVER_TEXT_BYTE_RANGE_H_

#include <cstddef>

namespace hydrad {

// The bytes from `begin` up to but not including `end`.
struct ByteRange {
  size_t begin, end;

  bool operator==(const ByteRange&) const = default;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_BYTE_RANGE_H_
