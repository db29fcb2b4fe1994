// Where a request's tokens become messages: one by one into a stream's queue, or gathered into one answer.
#ifndef HYDRAD_SERVER_RPC_OUTPUT_SINKS_H_
#define HYDRAD_SERVER_RPC_OUTPUT_SINKS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hydrad/v1/inference.pb.h"
#include "server/front/answer_reader.h"
#include "server/front/message_queue.h"
#include "server/rpc/memory_of.h"
#include "server/rpc/to_proto.h"  // TokenBytes
#include "server/scheduler/token_sink.h"

namespace hydrad {

// What the messages of one request say beside its tokens.
struct OutputHead {
  v1::Start start;                       // without what OutputStart tells
  std::string echo;                      // goes before each choice's text
  bool token_ids = false;                // send ids beside the text
  std::optional<AnswerReader> answer{};  // takes the answer apart, if it is to be
  TokenBytes token_bytes;  // of the tokens whose log-probabilities are sent; must outlive the sink
};

using GenerateQueue = MessageQueue<v1::GenerateResponse>;

// The delivery's thread calls both sinks. A sink that is dropped before OnDone ends its call with INTERNAL,
// so that no call is ever left without an end.
class StreamSink final : public TokenSink {
 public:
  StreamSink(OutputHead head, std::shared_ptr<GenerateQueue> queue)
      : head_(std::move(head)), queue_(std::move(queue)) {}
  ~StreamSink() override;

  void OnStart(OutputStart start) override;
  bool OnPiece(OutputPiece piece) override;
  void OnDone(absl::Status status, const Usage& usage) override;

 private:
  OutputHead head_;
  const std::shared_ptr<GenerateQueue> queue_;
  std::vector<bool> echoed_;  // by choice
};

class GatherSink final : public TokenSink {
 public:
  // The sink fills `result` until it calls `done`, once, with OK or why the result is not complete. What the
  // result grows by is charged to `account`, if there is one; beyond its bounds the request ends with
  // RESOURCE_EXHAUSTED and the result is dropped.
  GatherSink(OutputHead head, int choices, v1::GenerateResult* result,
             std::shared_ptr<UnreadOutput::Account> account, std::function<void(const absl::Status&)> done);
  ~GatherSink() override;

  void OnStart(OutputStart start) override;
  bool OnPiece(OutputPiece piece) override;
  void OnDone(absl::Status status, const Usage& usage) override;

 private:
  bool Charge(size_t bytes);

  OutputHead head_;
  v1::GenerateResult* const result_;
  const std::shared_ptr<UnreadOutput::Account> account_;
  bool too_large_ = false;
  std::function<void(const absl::Status&)> done_;  // null when it has been called
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_OUTPUT_SINKS_H_
