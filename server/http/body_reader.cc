#include "server/http/body_reader.h"

#include <limits>

#include "server/http/error_answer.h"

namespace hydrad {
namespace {

template <class T>
bool Fits(const Json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<T>::max());
  }
  return value.is_number_integer() && value.get<int64_t>() >= std::numeric_limits<T>::min() &&
         value.get<int64_t>() <= std::numeric_limits<T>::max();
}

}  // namespace

bool ReadIds(const Json& value, std::vector<int32_t>* ids) {
  if (!value.is_array()) return false;
  ids->reserve(value.size());
  for (const Json& id : value) {
    if (!Fits<int32_t>(id)) return false;
    ids->push_back(id.get<int32_t>());
  }
  return true;
}

const Json* BodyReader::Value(const char* name) {
  known_.insert(name);
  const Json& value = Field(object_, name);
  return value.is_null() ? nullptr : &value;
}

std::optional<float> BodyReader::Number(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) return value->get<float>();
  Fail(name, "must be a number");
  return std::nullopt;
}

std::optional<int> BodyReader::Integer(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  if (Fits<int>(*value)) return value->get<int>();
  Fail(name, value->is_number_integer() ? "is out of range" : "must be a whole number");
  return std::nullopt;
}

std::optional<int64_t> BodyReader::Long(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  if (Fits<int64_t>(*value)) return value->get<int64_t>();
  Fail(name, value->is_number_integer() ? "is out of range" : "must be a whole number");
  return std::nullopt;
}

std::optional<bool> BodyReader::Bool(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Fail(name, "must be true or false");
  return std::nullopt;
}

std::optional<std::string> BodyReader::Text(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Fail(name, "must be a text");
  return std::nullopt;
}

std::vector<int32_t> BodyReader::Ids(const char* name) {
  std::vector<int32_t> ids;
  const Json* value = Value(name);
  if (value != nullptr && !ReadIds(*value, &ids)) Fail(name, "must be a list of ids of tokens");
  return ids;
}

std::vector<std::string> BodyReader::Texts(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> texts;
  for (const Json& text : *value) {
    if (!text.is_string()) break;
    texts.push_back(text.get<std::string>());
  }
  if (!value->is_array() || texts.size() != value->size()) Fail(name, "must be a text or a list of texts");
  return texts;
}

const Json* BodyReader::Object(const char* name) {
  const Json* value = Value(name);
  if (value == nullptr || value->is_object()) return value;
  Fail(name, "must be an object");
  return nullptr;
}

void BodyReader::Ignore(std::initializer_list<const char*> names) {
  known_.insert(names.begin(), names.end());
}

void BodyReader::Fail(std::string_view name, std::string_view description) {
  if (error_.ok()) error_ = BadParam(prefix_ + std::string(name), description);
}

void BodyReader::Finish(BodyReader& inner) {
  const absl::Status wrong = inner.Finish();
  if (error_.ok()) error_ = wrong;
}

absl::Status BodyReader::Finish() {
  for (auto field = object_.begin(); field != object_.end() && error_.ok(); ++field) {
    if (!field.value().is_null() && !known_.contains(field.key())) Fail(field.key(), "is not supported");
  }
  return error_;
}

}  // namespace hydrad
