#include "server/http/status_answer.h"

#include <utility>

#include "server/front/answers.h"

namespace hydrad {
namespace {

Json ModelStatus(const ServedModel& model, const std::string& base_model, int requests) {
  const bool base = model.name.empty();
  Json out = {{"name", base ? base_model : model.name},
              {"base", base},
              {"chat", model.chat},
              {"tier", Name(model.tier)},
              {"requests", requests}};
  if (base) return out;
  out["generation"] = model.generation;
  out["family"] = model.family;
  out["experts"] = model.experts;
  if (!model.expert_names.empty()) out["expert_names"] = model.expert_names;
  return out;
}

}  // namespace

Json StatusObject(const Intake& intake, const std::string& tenant, const std::string& base_model) {
  const Rooms& rooms = intake.rooms();
  const TenantActivity now = intake.activity().Of(tenant);
  Json models = Json::array();
  for (const ServedModel& model : ModelsFor(rooms, tenant)) {
    const auto at = now.adapters.find(model.name);
    models.push_back(ModelStatus(model, base_model, at == now.adapters.end() ? 0 : at->second));
  }
  const bool open = rooms.admission.open();
  Json out = {{"tenant", open ? Json() : Json(tenant)},
              {"requests", {{"running", now.running}, {"waiting", now.waiting}, {"ended", now.ended}}},
              {"generated_tokens", now.generated_tokens},
              {"models", std::move(models)}};
  if (open) {
    const SchedulerStatus all = rooms.scheduler.status();
    out["sequences"] = all.running;
    out["cache_blocks"] = {{"total", all.kv_blocks_total}, {"free", all.kv_blocks_free}};
  }
  return out;
}

}  // namespace hydrad
