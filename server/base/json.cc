#include "server/base/json.h"

#include <set>
#include <string>
#include <vector>

#include "server/base/foreign_content.h"
#include "server/base/invalid_argument.h"

namespace hydrad {
namespace {

constexpr int kMaxDepth = 32;

// Watches the parser go by. It can stop it only by throwing; ParseJson catches.
class Watcher {
 public:
  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > kMaxDepth) throw Broken{"is nested too deeply"};
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key && !keys_.back().insert(parsed.get_ref<const std::string&>()).second) {
      throw Broken{"has the key '" + parsed.get_ref<const std::string&>() + "' twice"};
    }
    return true;
  }
  struct Broken {
    std::string what;
  };

 private:
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) {
  if (const std::string_view foreign = ForeignContent(text); !foreign.empty()) {
    return InvalidArgument("{}", foreign);
  }
  // The parser takes a NUL for the end of its input and would not look behind it.
  if (text.find('\0') != std::string_view::npos) return InvalidArgument("is not JSON: it holds a NUL byte");
  try {
    Watcher watcher;
    return Json::parse(text.begin(), text.end(), std::ref(watcher));
  } catch (const Watcher::Broken& broken) {
    return InvalidArgument("{}", broken.what);
  } catch (const Json::parse_error& error) {
    return InvalidArgument("is not JSON at byte {}", error.byte);
  } catch (const Json::exception&) {
    return InvalidArgument("is not JSON: a number is out of range");
  }
}

const Json& Field(const Json& object, const char* key) {
  static const Json null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

}  // namespace hydrad
