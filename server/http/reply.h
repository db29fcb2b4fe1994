// The way back to the client of one request: a whole answer, or events one by one.
#ifndef HYDRAD_SERVER_HTTP_REPLY_H_
#define HYDRAD_SERVER_HTTP_REPLY_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/admission/admission.h"  // Ticket
#include "server/base/mutex.h"
#include "server/front/message_queue.h"
#include "server/front/unread_output.h"
#include "server/http/http_message.h"

namespace hydrad {

// What is to be written to a connection.
struct WireBytes {
  std::string text;
};
inline size_t MemoryOf(const WireBytes& bytes) { return sizeof bytes + 32 + bytes.text.capacity(); }

// Thread-safe; nothing here waits. Answers become bytes on the thread that gives them, and the connection's
// thread takes the bytes.
class Reply {
 public:
  struct Traits {
    std::string request_id{};  // every answer tells it
    std::string what{};        // method and path, for the log
    bool http10 = false;       // events come without chunks: REQUIRES !keep_alive, whose end ends them
    bool head_only = false;    // of a HEAD request: no body is sent
    bool keep_alive = true;    // the connection goes on after the answer
  };
  // `wake` asks the connection to take bytes, `cut` to end at once. Each may come from any thread.
  Reply(Traits traits, std::function<void()> wake, std::function<void()> cut);

  // For whoever answers. These three are to be called before the first byte of the answer.
  // Charge: what is unread is charged to `tenant`. Keep: the ticket gives its place back when the last bytes
  // are on their way. OnGone: `gone` is called once if the client goes away before it has its answer.
  void Charge(UnreadOutput& unread, std::string_view tenant);
  void Keep(Ticket ticket);
  void OnGone(std::function<void()> gone);
  // Of whatever answer comes.
  void AddHeader(std::string name, std::string value);
  // How the request is called elsewhere, for the log.
  void SetName(std::string name);

  // Gives the whole answer. Only the first end counts, whichever it is.
  void Send(const HttpAnswer& answer);
  // Sends one server-sent event. The first one sends the head before it. False: the client has gone or does
  // not read, or the answer has ended.
  bool Event(std::string_view data);
  // Ends the events.
  void EndEvents();
  // Gives `error` as the whole answer or, where events have been sent, as the last of them.
  void Fail(const HttpAnswer& error);

  // What a whole answer grows by before it is sent is charged here. Null before Charge.
  const std::shared_ptr<UnreadOutput::Account>& account() const { return account_; }

  // For the connection, on its thread.
  using Queue = MessageQueue<WireBytes>;
  // Fills `bytes` with what there is to write, several messages at once if they are there: kMessage, or kLast
  // if the answer ends with them. kEnd: the answer cannot be given, and the connection is to end.
  Queue::Next Take(std::string* bytes);
  // What Take gave last has been written.
  void Written();
  // The last of the answer has been written.
  void Done();
  // The client has gone, or the connection ends for another reason.
  void Gone();
  bool keep_alive() const { return traits_.keep_alive; }

 private:
  std::string HeadOf(int status, std::string_view type, std::optional<size_t> length,
                     const std::vector<std::pair<std::string, std::string>>& headers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string EventBytes(std::string_view data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Told(int status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Returns whether this is the first end.
  bool End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !std::exchange(ended_, true); }

  // Constant after Charge.
  const Traits traits_;
  const std::function<void()> cut_;
  const std::shared_ptr<Queue> queue_;
  std::shared_ptr<UnreadOutput::Account> account_;

  // Owned by the connection's thread.
  size_t sending_ = 0;  // what the bytes that were taken last are charged

  Mutex mu_;
  std::vector<Ticket> tickets_ ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<std::string, std::string>> headers_ ABSL_GUARDED_BY(mu_);
  std::string name_ ABSL_GUARDED_BY(mu_);
  std::function<void()> gone_ ABSL_GUARDED_BY(mu_);
  bool is_gone_ ABSL_GUARDED_BY(mu_) = false;
  bool begun_ ABSL_GUARDED_BY(mu_) = false;  // events
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_REPLY_H_
