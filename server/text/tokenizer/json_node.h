// A value in tokenizer.json together with where it stands, so that every error can say so.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_JSON_NODE_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_JSON_NODE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/core.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hydrad {

// The integer that `value` holds, from 0 to `limit`; -1 for anything else.
int64_t JsonCount(const nlohmann::json& value, uint32_t limit);

// A view: the parsed file must outlive it. Errors are INVALID_ARGUMENT and begin with the path, such as
// "pre_tokenizer.pretokenizers[1].behavior".
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool IsNull() const { return value_->is_null(); }

  // The member, or a null value if it is absent. Errors: this is not an object.
  absl::StatusOr<JsonNode> Member(std::string_view name) const;
  // The elements. Errors: this is not an array, or has more than `limit` elements.
  absl::StatusOr<std::vector<JsonNode>> Elements(size_t limit) const;

  // This value as a plain type. Errors: another type.
  absl::StatusOr<std::string> String() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<uint32_t> Count() const;         // an integer from 0 to 2^31 - 1
  absl::StatusOr<std::string> Character() const;  // a string of one code point

  // A member as a plain type; `otherwise` if it is absent or null.
  absl::StatusOr<std::string> StringOr(std::string_view name, std::string_view otherwise) const;
  absl::StatusOr<bool> BoolOr(std::string_view name, bool otherwise) const;
  // The member "type", by which components are told apart; a view into the file.
  absl::StatusOr<std::string_view> Type() const;
  // A member that must be there.
  absl::StatusOr<JsonNode> Required(std::string_view name) const;

  // INVALID_ARGUMENT with the path before the text.
  template <class... Args>
  absl::Status Error(fmt::format_string<Args...> text, Args&&... args) const {
    return ErrorHere(fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  absl::Status ErrorHere(std::string_view text) const;

  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_JSON_NODE_H_
