#include "server/model/safetensors.h"

#include <fmt/core.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "server/base/foreign_content.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// What the header says of one tensor, before anything is checked against the file.
struct Entry {
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;  // data_offsets: [begin, end) in the bytes after the header
};
using Entries = std::map<std::string, Entry, std::less<>>;

std::optional<size_t> ElementBytes(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, size_t>, 17> kSizes = {{{"BOOL", 1},
                                                                                  {"U8", 1},
                                                                                  {"I8", 1},
                                                                                  {"F8_E5M2", 1},
                                                                                  {"F8_E4M3", 1},
                                                                                  {"F8_E8M0", 1},
                                                                                  {"I16", 2},
                                                                                  {"U16", 2},
                                                                                  {"F16", 2},
                                                                                  {"BF16", 2},
                                                                                  {"I32", 4},
                                                                                  {"U32", 4},
                                                                                  {"F32", 4},
                                                                                  {"F64", 8},
                                                                                  {"I64", 8},
                                                                                  {"U64", 8},
                                                                                  {"C64", 8}}};
  for (const auto& [name, bytes] : kSizes) {
    if (name == dtype) return bytes;
  }
  return std::nullopt;
}

// Takes the header's JSON event by event, so that duplicate keys are seen and nesting beyond the format's
// three levels ends the parse at once. Every handler returns false to stop; `error` then says why.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  Entries entries;
  std::string error;

  bool start_object(size_t) override {
    ++depth_;
    if (depth_ == 1) return true;
    if (depth_ == 2) return Open();
    return Fail("an object where a value is expected");
  }
  bool end_object() override {
    --depth_;
    if (depth_ != 1 || in_metadata_) return true;
    if (!entry_->dtype || !entry_->shape || !entry_->offsets) {
      return Fail("needs dtype, shape and data_offsets");
    }
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ == 1) {
      tensor_ = name;
      return true;
    }
    field_ = name;
    if (in_metadata_) return metadata_keys_.emplace(name, 0).second || Fail("duplicate key '" + name + "'");
    if (name != "dtype" && name != "shape" && name != "data_offsets")
      return Fail("unknown key '" + name + "'");
    const bool seen = (name == "dtype" && entry_->dtype) || (name == "shape" && entry_->shape) ||
                      (name == "data_offsets" && entry_->offsets);
    return !seen || Fail("duplicate key '" + name + "'");
  }
  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || field_ == "dtype") return Fail("unexpected array");
    in_array_ = true;
    (field_ == "shape" ? entry_->shape : entry_->offsets).emplace();
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) return Fail("unexpected number");
    (field_ == "shape" ? entry_->shape : entry_->offsets)->push_back(value);
    return true;
  }
  bool string(string_t& value) override {
    if (depth_ != 2 || in_array_) return Fail("unexpected string");
    if (in_metadata_) return true;
    if (field_ != "dtype") return Fail("unexpected string");
    entry_->dtype = value;
    return true;
  }
  bool null() override { return Fail("unexpected null"); }
  bool boolean(bool) override { return Fail("unexpected boolean"); }
  bool number_integer(number_integer_t) override { return Fail("negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Fail("number is not a 64-bit integer");
  }
  bool binary(binary_t&) override { return Fail("unexpected binary"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    if (error.empty()) error = fmt::format("header is not JSON at byte {}", position);
    return false;
  }

 private:
  bool Fail(const std::string& what) {
    const std::string where = depth_ == 0 ? "header" : fmt::format("tensor '{}'", tensor_);
    if (error.empty()) error = fmt::format("{}: {}", where, what);
    return false;
  }
  // A value of the outermost object begins.
  bool Open() {
    in_metadata_ = tensor_ == "__metadata__";
    if (in_metadata_) return !std::exchange(seen_metadata_, true) || Fail("duplicate key");
    const auto [position, fresh] = entries.emplace(tensor_, Entry{});
    entry_ = &position->second;
    return fresh || Fail("duplicate key");
  }

  int depth_ = 0;
  bool in_metadata_ = false, seen_metadata_ = false, in_array_ = false;
  std::string tensor_, field_;
  Entry* entry_ = nullptr;
  std::map<std::string, int> metadata_keys_;
};

constexpr size_t kLengthBytes = 8;

// The length of the header of a file of `size` bytes, from its first ones: kForeignContentBytes or all.
absl::StatusOr<size_t> HeaderLength(std::span<const std::byte> first, uint64_t size, size_t max_header) {
  const std::string_view begin(reinterpret_cast<const char*>(first.data()), first.size());
  if (const std::string_view foreign = ForeignContent(begin); !foreign.empty()) {
    return InvalidArgument("{}", foreign);
  }
  if (size < kLengthBytes) return InvalidArgument("file of {} bytes has no safetensors header", size);
  uint64_t length = 0;
  for (int i = kLengthBytes - 1; i >= 0; --i) length = length << 8 | static_cast<uint8_t>(first[i]);
  if (length > max_header) return InvalidArgument("header of {} bytes is larger than {}", length, max_header);
  if (length > size - kLengthBytes) {
    return InvalidArgument("header of {} bytes does not fit in a file of {}", length, size);
  }
  return static_cast<size_t>(length);
}

absl::StatusOr<Entries> ParseHeader(std::string_view header) {
  if (header.empty() || header.front() != '{') return InvalidArgument("header does not begin with '{{'");
  // The JSON parser takes a NUL for the end of its input and would not look behind it.
  if (header.find('\0') != std::string_view::npos) return InvalidArgument("header holds a NUL byte");
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(header.begin(), header.end(), &handler)) {
    return InvalidArgument("{}", handler.error);
  }
  return std::move(handler.entries);
}

// Entries in the order of their bytes, so that holes and overlaps show as a begin that is not the last end.
std::vector<std::pair<const std::string*, const Entry*>> ByOffset(const Entries& entries) {
  std::vector<std::pair<const std::string*, const Entry*>> order;
  order.reserve(entries.size());
  for (const auto& [name, entry] : entries) order.emplace_back(&name, &entry);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return *a.second->offsets < *b.second->offsets; });
  return order;
}

absl::StatusOr<uint64_t> TensorBytes(const std::string& name, const Entry& entry) {
  const std::optional<size_t> element = ElementBytes(*entry.dtype);
  if (!element) return InvalidArgument("tensor '{}': unknown dtype '{}'", name, *entry.dtype);
  uint64_t bytes = *element;
  bool overflow = false, empty = false;
  for (const uint64_t extent : *entry.shape) {
    if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) overflow = true;
    if (extent == 0) empty = true;
    if (__builtin_mul_overflow(bytes, extent, &bytes)) overflow = true;
  }
  if (overflow) return InvalidArgument("tensor '{}': shape overflows", name);
  return empty ? 0 : bytes;
}

absl::StatusOr<TensorPlace> CheckedPlace(const std::string& name, const Entry& entry, uint64_t expected_begin,
                                         uint64_t data_bytes) {
  if (entry.offsets->size() != 2) return InvalidArgument("tensor '{}': data_offsets needs two numbers", name);
  const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
  if (begin > end || end > data_bytes) {
    return InvalidArgument("tensor '{}': data_offsets [{}, {}] outside {} bytes of data", name, begin, end,
                           data_bytes);
  }
  if (begin != expected_begin) {
    return InvalidArgument("tensor '{}': {} before offset {}", name,
                           begin > expected_begin ? "hole" : "overlap", begin);
  }
  ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(name, entry));
  if (bytes != end - begin) {
    return InvalidArgument("tensor '{}': shape needs {} bytes, data_offsets span {}", name, bytes,
                           end - begin);
  }
  return TensorPlace{*entry.dtype, {entry.shape->begin(), entry.shape->end()}, begin, bytes};
}

// The layout that `header` tells of a file of `size` bytes.
absl::StatusOr<Safetensors::Places> CheckedPlaces(std::string_view header, uint64_t size) {
  ASSIGN_OR_RETURN(const Entries entries, ParseHeader(header));
  const uint64_t data_begin = kLengthBytes + header.size(), data_bytes = size - data_begin;
  Safetensors::Places places;
  uint64_t end = 0;
  for (const auto& [name, entry] : ByOffset(entries)) {
    ASSIGN_OR_RETURN(TensorPlace place, CheckedPlace(*name, *entry, end, data_bytes));
    end += place.bytes;
    place.begin += data_begin;
    places.emplace(*name, std::move(place));
  }
  if (end != data_bytes) return InvalidArgument("{} bytes after the last tensor", data_bytes - end);
  return places;
}

}  // namespace

absl::StatusOr<Safetensors> Safetensors::ParseBytes(std::span<const std::byte> bytes, size_t max_header) {
  const auto first = bytes.first(std::min(bytes.size(), kForeignContentBytes));
  ASSIGN_OR_RETURN(const size_t length, HeaderLength(first, bytes.size(), max_header));
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  ASSIGN_OR_RETURN(Places places, CheckedPlaces(header, bytes.size()));
  Safetensors result;
  for (auto& [name, place] : places) {
    result.tensors_.emplace(name, TensorInfo{std::move(place.dtype), std::move(place.shape),
                                             bytes.subspan(place.begin, place.bytes)});
  }
  return result;
}

absl::StatusOr<Safetensors::Places> Safetensors::ReadPlaces(uint64_t size, size_t max_header, Read read) {
  std::array<std::byte, kForeignContentBytes> memory;
  const std::span<std::byte> first = std::span(memory).first(std::min<uint64_t>(size, memory.size()));
  RETURN_IF_ERROR(read(0, first));
  ASSIGN_OR_RETURN(const size_t length, HeaderLength(first, size, max_header));
  const std::span<std::byte> begun = first.subspan(kLengthBytes);
  std::string header(reinterpret_cast<const char*>(begun.data()), std::min(begun.size(), length));
  const size_t have = header.size();
  header.resize(length);
  const std::span<std::byte> rest = std::as_writable_bytes(std::span(header)).subspan(have);
  if (!rest.empty()) RETURN_IF_ERROR(read(kLengthBytes + have, rest));
  return CheckedPlaces(header, size);
}

Safetensors Safetensors::View(Tensors tensors) {
  Safetensors view;
  view.tensors_ = std::move(tensors);
  return view;
}

const TensorInfo* Safetensors::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

absl::StatusOr<HostMatrix> MatrixOf(std::string_view name, const std::string& dtype,
                                    std::span<const int64_t> shape) {
  HostMatrix matrix;
  if (dtype == "F32") {
    matrix.dtype = DType::kF32;
  } else if (dtype == "BF16") {
    matrix.dtype = DType::kBf16;
  } else if (dtype == "F16") {
    matrix.dtype = DType::kF16;
  } else {
    return InvalidArgument("tensor '{}': dtype {} is not F32, BF16 or F16", name, dtype);
  }
  if (shape.empty() || shape.size() > 2) {
    return InvalidArgument("tensor '{}': {} dimensions, not 1 or 2", name, shape.size());
  }
  for (const int64_t extent : shape) {
    if (extent > std::numeric_limits<int>::max()) {
      return InvalidArgument("tensor '{}': extent {} is too large", name, extent);
    }
  }
  matrix.rows = shape.size() == 2 ? static_cast<int>(shape[0]) : 1;
  matrix.cols = static_cast<int>(shape.back());
  return matrix;
}

}  // namespace hydrad
