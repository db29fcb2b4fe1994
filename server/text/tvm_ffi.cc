#include "server/text/tvm_ffi.h"

#include <dlfcn.h>

#include <fmt/core.h>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"

namespace hydrad {
namespace {

using nlohmann::json;

constexpr uint32_t kMajor = 0, kMinor = 1;
constexpr int32_t kShortText = 11, kShortBytes = 12, kText = 65, kBytes = 66;

// What every object begins with; its content follows.
struct ObjectHeader {
  uint64_t references;
  int32_t type;
  uint32_t padding;
  void (*destroy)(void*, int);
};
static_assert(sizeof(ObjectHeader) == 24);

// A name as it stands in a signature: without the package and the namespace of the library itself.
std::string ShortType(const json& type, std::string_view package) {
  std::string name = type.is_object() ? type.value("type", "") : "";
  for (const std::string_view prefix : {package, std::string_view("ffi."), std::string_view("std::")}) {
    if (name.starts_with(prefix)) name.erase(0, prefix.size());
  }
  return name;
}

// "R(A,B)" of what a method states about itself, "" where that is not understood.
std::string Signature(std::string_view metadata, std::string_view package) {
  const json outer = json::parse(metadata, nullptr, /*allow_exceptions=*/false);
  if (!outer.is_object() || !outer.contains("type_schema") || !outer["type_schema"].is_string()) return "";
  const json schema = json::parse(outer["type_schema"].get_ref<const std::string&>(), nullptr, false);
  if (!schema.is_object() || !schema.contains("named_args")) return "";
  const json &named = schema["named_args"], returns = named.value("return", json::array()),
             params = named.value("params", json::array());
  if (!returns.is_array() || returns.size() != 1 || !params.is_array()) return "";
  std::string signature = ShortType(returns[0], package) + "(";
  for (size_t i = 0; i < params.size(); ++i) {
    signature += (i > 0 ? "," : "") + ShortType(params[i], package);
  }
  return signature + ")";
}

// The text of an exception, without the time and place that the library writes before it.
std::string FirstLine(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  const size_t source = text.find(".cc:");
  const size_t colon = source == std::string_view::npos ? source : text.find(": ", source);
  if (colon != std::string_view::npos) text.remove_prefix(colon + 2);
  constexpr size_t kMaxText = 500;
  return std::string(text.substr(0, kMaxText));
}

template <class F>
bool Find(void* library, const char* name, F* out) {
  *out = reinterpret_cast<F>(dlsym(library, name));
  return *out != nullptr;
}

}  // namespace

struct FfiLibrary::Method_ {
  ByteArray name, doc, metadata;
  int64_t flags;
  FfiAny function;
};

struct FfiLibrary::TypeInfo {
  int32_t index, depth;
  ByteArray key;
  const TypeInfo** ancestors;
  uint64_t key_hash;
  int32_t field_count, method_count;
  const void* fields;
  const Method_* methods;
};

FfiValue::~FfiValue() {
  if (is_object()) library_->api_.release(any_.pointer);
}

absl::StatusOr<FfiValue> FfiFunction::operator()(std::span<const FfiAny> arguments) const {
  FfiAny result;
  if (library_->api_.call(function_, arguments.data(), static_cast<int32_t>(arguments.size()), &result) != 0)
    return library_->TakeError();
  return FfiValue(library_, result);
}

absl::StatusOr<std::unique_ptr<const FfiLibrary>> FfiLibrary::Open(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded
  if (library == nullptr) return FailedPrecondition("cannot be opened: {}", dlerror());
  Api api{};
  if (!Find(library, "TVMFFIGetVersion", &api.version)) {
    return FailedPrecondition("'{}' is not tvm-ffi's library", path);
  }
  Version version{};
  api.version(&version);
  if (version.major != kMajor || version.minor != kMinor) {
    return FailedPrecondition("'{}' has version {}.{}.{} of tvm-ffi's interface: {}.{} is needed", path,
                              version.major, version.minor, version.patch, kMajor, kMinor);
  }
  const bool all = Find(library, "TVMFFIObjectDecRef", &api.release) &&
                   Find(library, "TVMFFIFunctionGetGlobal", &api.function) &&
                   Find(library, "TVMFFIFunctionCall", &api.call) &&
                   Find(library, "TVMFFIErrorMoveFromRaised", &api.take_error) &&
                   Find(library, "TVMFFIStringFromByteArray", &api.make_text) &&
                   Find(library, "TVMFFIBytesFromByteArray", &api.make_bytes) &&
                   Find(library, "TVMFFITypeKeyToIndex", &api.type_index) &&
                   Find(library, "TVMFFIGetTypeInfo", &api.type_info);
  if (!all) return FailedPrecondition("'{}' lacks functions of tvm-ffi's interface", path);
  return std::unique_ptr<const FfiLibrary>(new FfiLibrary(api));
}

absl::StatusOr<FfiFunction> FfiLibrary::Method(std::string_view package, std::string_view type,
                                               std::string_view name, std::string_view signature) const {
  const std::string key = fmt::format("{}{}", package, type);
  const ByteArray key_bytes{key.data(), key.size()};
  int32_t index = 0;
  if (api_.type_index(&key_bytes, &index) != 0) return TakeError();
  const TypeInfo& info = *api_.type_info(index);
  for (const Method_& method : std::span(info.methods, static_cast<size_t>(info.method_count))) {
    if (std::string_view(method.name.data, method.name.size) != name) continue;
    const std::string has = Signature({method.metadata.data, method.metadata.size}, package);
    if (has == signature) return FfiFunction(this, method.function.pointer);
    return FailedPrecondition("{}.{} is {}: {} is needed", type, name, has, signature);
  }
  return FailedPrecondition("{} has no {}", type, name);
}

absl::StatusOr<FfiFunction> FfiLibrary::Function(std::string_view name) const {
  const ByteArray bytes{name.data(), name.size()};
  void* function = nullptr;
  if (api_.function(&bytes, &function) != 0) return TakeError();
  if (function == nullptr) return FailedPrecondition("there is no function {}", name);
  return FfiFunction(this, function);  // of the registry, which keeps it
}

absl::StatusOr<FfiValue> FfiLibrary::Text(std::string_view text) const {
  const ByteArray content{text.data(), text.size()};
  FfiAny any;
  if (api_.make_text(&content, &any) != 0) return TakeError();
  return FfiValue(this, any);
}

absl::StatusOr<FfiValue> FfiLibrary::Bytes(std::string_view bytes) const {
  const ByteArray content{bytes.data(), bytes.size()};
  FfiAny any;
  if (api_.make_bytes(&content, &any) != 0) return TakeError();
  return FfiValue(this, any);
}

std::string FfiLibrary::TextOf(const FfiValue& value) {
  const FfiAny& any = value.view();
  if (any.type == kShortText || any.type == kShortBytes) {
    return std::string(reinterpret_cast<const char*>(&any.integer), any.padding);
  }
  if (any.type != kText && any.type != kBytes) return "";
  const auto* content =
      reinterpret_cast<const ByteArray*>(static_cast<const char*>(any.pointer) + sizeof(ObjectHeader));
  return std::string(content->data, content->size);
}

absl::Status FfiLibrary::TakeError() const {
  void* error = nullptr;
  api_.take_error(&error);
  if (error == nullptr) return Internal("the library has failed without saying why");
  struct ErrorContent {
    ByteArray kind, message;
  };
  const auto* content =
      reinterpret_cast<const ErrorContent*>(static_cast<const char*>(error) + sizeof(ObjectHeader));
  const std::string_view text(content->message.data, content->message.size);
  absl::Status status = text.find("bad_alloc") != std::string_view::npos
                            ? ResourceExhausted("it takes more memory than is given")
                            : InvalidArgument("{}", FirstLine(text));
  api_.release(error);
  return status;
}

}  // namespace hydrad
