#include "server/http/reply.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "server/base/log.h"

namespace hydrad {
namespace {

// Bytes that are taken for one write, of which a single message may be more.
constexpr size_t kAtOnce = 64 << 10;
constexpr std::string_view kLastChunk = "0\r\n\r\n";

using Headers = std::vector<std::pair<std::string, std::string>>;

std::string Date() { return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))); }

}  // namespace

Reply::Reply(Traits traits, std::function<void()> wake, std::function<void()> cut)
    : traits_(std::move(traits)), cut_(std::move(cut)), queue_(std::make_shared<Queue>(std::move(wake))) {}

void Reply::Charge(UnreadOutput& unread, std::string_view tenant) {
  account_ = unread.Open(tenant, [queue = std::weak_ptr<Queue>(queue_), cut = cut_](const absl::Status& why) {
    if (const auto alive = queue.lock()) alive->GiveUp(why);
    cut();
  });
  queue_->set_account(account_);
}

void Reply::Keep(Ticket ticket) {
  MutexLock lock(&mu_);
  tickets_.push_back(std::move(ticket));
}

void Reply::OnGone(std::function<void()> gone) {
  {
    MutexLock lock(&mu_);
    if (!is_gone_) {
      gone_ = std::move(gone);
      return;
    }
  }
  gone();
}

void Reply::AddHeader(std::string name, std::string value) {
  MutexLock lock(&mu_);
  headers_.emplace_back(std::move(name), std::move(value));
}

void Reply::SetName(std::string name) {
  MutexLock lock(&mu_);
  name_ = std::move(name);
}

std::string Reply::HeadOf(int status, std::string_view type, std::optional<size_t> length,
                          const Headers& headers) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\nServer: hydrad\r\nDate: {}\r\nx-request-id: {}\r\n",
                                status, ReasonPhrase(status), Date(), traits_.request_id);
  if (!type.empty()) out += fmt::format("Content-Type: {}\r\n", type);
  if (length && status != 304) out += fmt::format("Content-Length: {}\r\n", *length);
  if (!length && !traits_.http10) out += "Transfer-Encoding: chunked\r\n";
  if (!traits_.keep_alive) out += "Connection: close\r\n";
  for (const auto* list : {static_cast<const Headers*>(&headers_), &headers}) {
    for (const auto& [name, value] : *list) out += fmt::format("{}: {}\r\n", name, value);
  }
  return out += "\r\n";
}

// Prompts and answers are never logged; a name of the client's has been looked at (IsRequestName). Only what
// a stranger cannot bring about is told to everybody.
void Reply::Told(int status) {
  const auto level = status == 500 ? spdlog::level::warn : spdlog::level::debug;
  Log()->log(level, "http: {} -> {}, x-request-id {}{}{}", traits_.what, status, traits_.request_id,
             name_.empty() ? "" : ", ", name_);
}

void Reply::Send(const HttpAnswer& answer) {
  WireBytes bytes;
  {
    MutexLock lock(&mu_);
    if (!End()) return;
    Told(answer.status);
    bytes.text =
        HeadOf(answer.status, answer.body.empty() ? "" : answer.type, answer.body.size(), answer.headers);
    if (!traits_.head_only) bytes.text += answer.body;
  }
  queue_->Close(absl::OkStatus(), std::move(bytes));
}

std::string Reply::EventBytes(std::string_view data) {
  constexpr std::string_view kField = "data: ", kEnd = "\n\n";
  std::string out;
  if (!std::exchange(begun_, true)) {
    Told(200);
    out = HeadOf(200, "text/event-stream", std::nullopt,
                 {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}});
  }
  const size_t size = kField.size() + data.size() + kEnd.size();
  out.reserve(out.size() + size + 16);
  if (!traits_.http10) fmt::format_to(std::back_inserter(out), "{:x}\r\n", size);
  out.append(kField).append(data).append(kEnd);
  if (!traits_.http10) out += "\r\n";
  return out;
}

bool Reply::Event(std::string_view data) {
  WireBytes bytes;
  {
    MutexLock lock(&mu_);
    if (ended_) return false;
    bytes.text = EventBytes(data);
  }
  return queue_->Push(std::move(bytes));
}

void Reply::EndEvents() {
  {
    MutexLock lock(&mu_);
    if (!End()) return;
  }
  queue_->Close(absl::OkStatus(), WireBytes{std::string(traits_.http10 ? "" : kLastChunk)});
}

void Reply::Fail(const HttpAnswer& error) {
  WireBytes bytes;
  {
    MutexLock lock(&mu_);
    if (begun_) {
      if (!End()) return;
      Told(error.status);
      bytes.text = EventBytes(error.body);
      if (!traits_.http10) bytes.text += kLastChunk;
    }
  }
  if (bytes.text.empty()) return Send(error);
  queue_->Close(absl::OkStatus(), std::move(bytes));
}

Reply::Queue::Next Reply::Take(std::string* bytes) {
  using Next = Queue::Next;
  bytes->clear();
  Next next = Next::kNothing;
  do {
    WireBytes message;
    size_t charged = 0;
    absl::Status status;
    next = queue_->Take(&message, &charged, &status);
    if (next == Next::kMessage || next == Next::kLast) {
      sending_ += charged;
      if (bytes->empty()) {
        *bytes = std::move(message.text);
      } else {
        bytes->append(message.text);
      }
    }
  } while (next == Next::kMessage && bytes->size() < kAtOnce);
  if (account_ != nullptr && sending_ > 0) account_->SendBegins();
  if (next == Next::kLast) {
    MutexLock lock(&mu_);
    for (Ticket& ticket : tickets_) ticket.Deliver();
  }
  return next == Next::kNothing && sending_ > 0 ? Next::kMessage : next;
}

void Reply::Written() {
  if (account_ == nullptr) {
    sending_ = 0;
    return;
  }
  account_->Remove(std::exchange(sending_, 0));
  account_->SendEnds();
}

void Reply::Done() {
  MutexLock lock(&mu_);
  is_gone_ = true;
  gone_ = nullptr;
  tickets_.clear();
}

void Reply::Gone() {
  queue_->Abandon();
  if (account_ != nullptr) Written();
  std::function<void()> gone;
  {
    MutexLock lock(&mu_);
    if (std::exchange(is_gone_, true)) return;
    gone = std::move(gone_);
    tickets_.clear();
  }
  if (gone) gone();
}

}  // namespace hydrad
