// The rooms that stand behind the front ends.
#ifndef HYDRAD_SERVER_FRONT_ROOMS_H_
#define HYDRAD_SERVER_FRONT_ROOMS_H_

#include <memory>
#include <optional>

#include "server/adapters/store/adapter_store.h"
#include "server/admission/admission.h"
#include "server/front/audit.h"
#include "server/front/delivery.h"
#include "server/front/scheduler_calls.h"
#include "server/front/validate.h"
#include "server/metrics/metrics.h"
#include "server/text/answer/tool_format.h"
#include "server/text/answer_form.h"
#include "server/text/chat_format.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// A front end and what it makes have these by reference, so each must outlive them: the daemon builds the
// rooms first and the front ends last, and ends them in the other order.
struct Rooms {
  const SchedulerCalls& scheduler;
  AdapterStore& adapters;
  Admission& admission;
  const Tokenizer& tokenizer;
  Metrics& metrics;
  AuditLog& audit;
  Delivery& delivery;
  const Clock& clock;
  RequestLimits limits;
  std::shared_ptr<const ChatFormat> chat;  // of the base model; not null
  // The format in which the model writes calls of functions; none: as the chat template tells.
  std::optional<ToolFormat> tool_format{};
  AnswerForms* forms = nullptr;  // null: answers cannot be held to a form here
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ROOMS_H_
