// The calling convention of apache-tvm-ffi, by which xgrammar's library is called: values of 16 bytes,
// counted objects, and functions that are found by the name of a type and of a method.
//
// The library is opened at run time and nothing of it is needed to build. What stands here is its stable C
// interface, version 0.1, in our own words.
#ifndef HYDRAD_SERVER_TEXT_TVM_FFI_H_
#define HYDRAD_SERVER_TEXT_TVM_FFI_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace hydrad {

// A value as the library lays it out. Plain: it neither takes nor gives back a reference.
struct FfiAny {
  enum Type : int32_t { kNone = 0, kInt = 1, kBool = 2, kTensor = 7, kFirstObject = 64 };
  int32_t type = kNone;
  uint32_t padding = 0;  // of short texts the length
  union {
    int64_t integer = 0;
    void* pointer;
  };

  static FfiAny None() { return {}; }
  static FfiAny Int(int64_t value) { return {.type = kInt, .integer = value}; }
  static FfiAny Bool(bool value) { return {.type = kBool, .integer = value}; }
};
static_assert(sizeof(FfiAny) == 16);

// A matrix in somebody else's memory (DLPack's DLTensor). For this call only.
struct FfiTensor {
  void* data;
  int32_t device_type = 1, device = 0;  // 1: the host's memory
  int32_t dimensions;
  uint8_t kind = 0, bits = 32;  // int32
  uint16_t lanes = 1;
  int64_t *shape, *strides;  // in elements
  uint64_t byte_offset = 0;

  FfiAny View() { return {.type = FfiAny::kTensor, .pointer = this}; }
};
static_assert(sizeof(FfiTensor) == 48);

class FfiLibrary;

// A value that is owned: an object's reference is given back by destruction. Any thread may hold one.
class FfiValue {
 public:
  FfiValue() = default;
  FfiValue(const FfiLibrary* library, FfiAny any) : library_(library), any_(any) {}
  FfiValue(FfiValue&& other) noexcept
      : library_(other.library_), any_(std::exchange(other.any_, FfiAny::None())) {}
  FfiValue& operator=(FfiValue&& other) noexcept {
    std::swap(library_, other.library_);
    std::swap(any_, other.any_);
    return *this;
  }
  ~FfiValue();

  const FfiAny& view() const { return any_; }  // for as long as this lives
  bool is_object() const { return any_.type >= FfiAny::kFirstObject; }
  int64_t integer() const { return any_.integer; }  // of an integer or a truth value

 private:
  const FfiLibrary* library_ = nullptr;
  FfiAny any_;
};

// A function of the library. Trivially copied; lives as long as its library.
class FfiFunction {
 public:
  FfiFunction() = default;
  FfiFunction(const FfiLibrary* library, void* function) : library_(library), function_(function) {}
  // An exception in the function comes back as INVALID_ARGUMENT with the text of its first line, or as
  // RESOURCE_EXHAUSTED where memory was lacking.
  absl::StatusOr<FfiValue> operator()(std::span<const FfiAny> arguments) const;

 private:
  const FfiLibrary* library_ = nullptr;
  void* function_ = nullptr;
};

// The opened library. It stays in the process for good. Thread-safe.
class FfiLibrary {
 public:
  // Opens the shared object at `path`. FAILED_PRECONDITION, naming the file, when it cannot be opened or is
  // of another version of the interface.
  static absl::StatusOr<std::unique_ptr<const FfiLibrary>> Open(const std::string& path);

  // A method that some other library has registered for a type, with the signature that it states about
  // itself, as in "bool(GrammarMatcher,int,bool)". FAILED_PRECONDITION when there is none, or another one.
  absl::StatusOr<FfiFunction> Method(std::string_view package, std::string_view type, std::string_view name,
                                     std::string_view signature) const;
  // A function by its own name.
  absl::StatusOr<FfiFunction> Function(std::string_view name) const;

  absl::StatusOr<FfiValue> Text(std::string_view text) const;
  absl::StatusOr<FfiValue> Bytes(std::string_view bytes) const;
  // The text of a value, "" of anything else.
  static std::string TextOf(const FfiValue& value);

 private:
  friend class FfiValue;
  friend class FfiFunction;
  struct ByteArray {
    const char* data;
    size_t size;
  };
  struct Version {
    uint32_t major, minor, patch;
  };
  struct Method_;
  struct TypeInfo;
  struct Api {
    void (*version)(Version*);
    int (*release)(void* object);
    int (*function)(const ByteArray* name, void** out);
    int (*call)(void* function, const FfiAny* arguments, int32_t count, FfiAny* result);
    void (*take_error)(void** out);
    int (*make_text)(const ByteArray* content, FfiAny* out);
    int (*make_bytes)(const ByteArray* content, FfiAny* out);
    int (*type_index)(const ByteArray* key, int32_t* out);
    const TypeInfo* (*type_info)(int32_t index);
  };
  explicit FfiLibrary(const Api& api) : api_(api) {}
  absl::Status TakeError() const;

  const Api api_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TVM_FFI_H_
