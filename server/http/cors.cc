#include "server/http/cors.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace hydrad {
namespace {

constexpr std::string_view kAny = "*";
constexpr char kMethods[] = "GET, HEAD, POST";
// What a script may read beside the few fields that it always may.
constexpr char kExposed[] =
    "x-request-id, Retry-After, retry-after-ms, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    "x-ratelimit-reset-requests";
constexpr char kMaxAge[] = "600";  // seconds that a browser need not ask again

// Whether it is a list of names of fields, which may be sent back.
bool IsListOfFields(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || c == '-' || c == '_' || c == ',' || c == ' ';
  });
}

class Cors final : public HttpService {
 public:
  Cors(std::vector<std::string> origins, std::shared_ptr<HttpService> service)
      : origins_(std::move(origins)),
        any_(std::ranges::find(origins_, kAny) != origins_.end()),
        service_(std::move(service)) {}

  std::variant<HttpAnswer, Handler> Open(const RequestHead& head) override {
    if (!IsAllowed(head.origin)) return service_->Open(head);
    if (head.method == "OPTIONS" && !head.wanted_method.empty()) return MayAsk(head);
    RequestHead known = head;
    known.origin.clear();
    return service_->Open(known);
  }
  HttpAnswer Malformed(int status, const std::string& why) override {
    return service_->Malformed(status, why);
  }
  // Also without an origin: a cache between must not give one page's answer to another.
  HttpFields FieldsOf(const RequestHead& head) override {
    HttpFields fields = service_->FieldsOf(head);
    if (!any_) fields.emplace_back("Vary", "Origin");
    if (!IsAllowed(head.origin)) return fields;
    fields.emplace_back("Access-Control-Allow-Origin", any_ ? kAny : head.origin);
    fields.emplace_back("Access-Control-Expose-Headers", kExposed);
    return fields;
  }

 private:
  bool IsAllowed(const std::string& origin) const {
    return !origin.empty() && (any_ || std::ranges::find(origins_, origin) != origins_.end());
  }
  // The browser asks by itself, without a key, whether a script may ask.
  static HttpAnswer MayAsk(const RequestHead& head) {
    HttpAnswer answer;
    answer.headers = {{"Access-Control-Allow-Methods", kMethods}, {"Access-Control-Max-Age", kMaxAge}};
    if (IsListOfFields(head.wanted_fields))
      answer.headers.emplace_back("Access-Control-Allow-Headers", head.wanted_fields);
    return answer;
  }

  const std::vector<std::string> origins_;
  const bool any_;
  const std::shared_ptr<HttpService> service_;
};

}  // namespace

std::shared_ptr<HttpService> AllowOrigins(std::vector<std::string> origins,
                                          std::shared_ptr<HttpService> service) {
  return std::make_shared<Cors>(std::move(origins), std::move(service));
}

}  // namespace hydrad
