#include "server/http/page.h"

#include <algorithm>
#include <string>

#include "server/base/status.h"
#include "server/front/error_details.h"
#include "server/http/error_answer.h"
#include "server/http/page_files.h"
#include "server/http/routes.h"

namespace hydrad {
namespace {

constexpr std::string_view kStart = "index.html";
constexpr char kPolicy[] = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

constexpr char kLanding[] =
    "hydrad: one base model, many adapters\n\n"
    "GET  /v1/models            the base model and the adapters\n"
    "POST /v1/completions       OpenAI's completions; an adapter's name goes in \"model\"\n"
    "POST /v1/chat/completions  OpenAI's chat completions\n"
    "POST /v1/score             how likely the model is to say each of some labels\n"
    "POST /tokenize             text to ids of tokens\n"
    "POST /detokenize           and back\n"
    "GET  /hydrad/status        requests, tokens and adapters, for whoever looks every second\n"
    "GET  /                     in a browser: the page\n"
    "GET  /health /ready /version\n";

const char* TypeOf(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  return "image/svg+xml";
}

}  // namespace

HttpAnswer StartAnswer(const RequestHead& head) {
  if (head.accept.find("text/html") != std::string::npos) return PageAnswer(head);
  return {
      .status = 200, .body = kLanding, .type = "text/plain; charset=utf-8", .headers = {{"Vary", "Accept"}}};
}

HttpAnswer PageAnswer(const RequestHead& head) {
  const std::string_view path = head.path;
  const std::string_view name = path.starts_with(kPagePrefix) ? path.substr(kPagePrefix.size()) : kStart;
  const auto file = std::ranges::find(PageFiles(), name, &PageFile::name);
  if (file == PageFiles().end())
    return ErrorAnswer(WithReason(NotFound("there is no {}", head.path), "NOT_FOUND"));
  HttpAnswer answer{.status = 200, .type = TypeOf(file->name)};
  answer.headers = {{"ETag", std::string(file->etag)},
                    {"Cache-Control", "no-cache"},  // kept, but asked about: the next version may differ
                    {"Vary", "Accept"},
                    {"Content-Security-Policy", kPolicy},
                    {"X-Content-Type-Options", "nosniff"},
                    {"Referrer-Policy", "no-referrer"}};
  if (head.if_none_match.find(file->etag) != std::string::npos) {
    answer.status = 304;
  } else {
    answer.body = file->bytes;
  }
  return answer;
}

}  // namespace hydrad
