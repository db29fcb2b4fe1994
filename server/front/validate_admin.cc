#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "server/front/checker.h"
#include "server/front/validate.h"

namespace hydrad {
namespace {

constexpr size_t kMaxPathBytes = 1024;
constexpr size_t kMaxPageToken = 256;
constexpr size_t kMaxEtag = 128;
constexpr size_t kMaxRequestId = 128;
constexpr size_t kMaxWanted = 10'000;

// No component that leaves the root. The store opens beneath the root in any case, and knows which absolute
// paths are there: this names the field.
bool StaysBeneath(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (path.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

void CheckPath(std::string_view path, std::string_view field, Checker& check) {
  check.Text(path, kMaxPathBytes, field);
  check.Expect(StaysBeneath(path), field,
               "must be a directory under the server's adapter root, without '..'");
}

// Both may be left out.
void CheckTags(std::string_view etag, std::string_view request_id, Checker& check) {
  check.Text(etag, kMaxEtag, "etag");
  const bool printable =
      std::all_of(request_id.begin(), request_id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  check.Expect(request_id.size() <= kMaxRequestId && printable, "request_id",
               "must be at most 128 printable ASCII characters, without spaces");
}

absl::Status CheckChange(std::string_view name, std::string_view etag, std::string_view request_id) {
  Checker check;
  check.AdapterName(name, "name");
  CheckTags(etag, request_id, check);
  return check.Result();
}

}  // namespace

absl::Status Validate(const LoadCall& call) {
  Checker check;
  check.AdapterName(call.name, "name");
  CheckPath(call.path, "path", check);
  CheckTags(call.etag, call.request_id, check);
  return check.Result();
}

absl::Status Validate(const GetCall& call) { return CheckChange(call.name, "", ""); }
absl::Status Validate(const UnloadCall& call) { return CheckChange(call.name, call.etag, call.request_id); }
absl::Status Validate(const PinCall& call) { return CheckChange(call.name, "", call.request_id); }

absl::Status Validate(const ApplyCall& call) {
  Checker check;
  CheckTags("", call.request_id, check);
  if (call.adapters.size() > kMaxWanted) {
    check.Fail("adapters",
               fmt::format("has {} adapters: at most {} are taken", call.adapters.size(), kMaxWanted));
    return check.Result();
  }
  for (size_t i = 0; i < call.adapters.size(); ++i) {
    const WantedAdapter& wanted = call.adapters[i];
    const std::string field = fmt::format("adapters[{}].", i);
    check.AdapterName(wanted.name, field + "name");
    CheckPath(wanted.path, field + "path", check);
    check.Text(wanted.digest, kMaxEtag, field + "etag");
  }
  return check.Result();
}

absl::Status Validate(const ListCall& call) {
  Checker check;
  check.Within(call.page_size, 0, 1000, "page_size");  // 0, unset, is the default
  check.Text(call.page_token, kMaxPageToken, "page_token");
  return check.Result();
}

}  // namespace hydrad
