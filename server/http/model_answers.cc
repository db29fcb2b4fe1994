#include "server/http/model_answers.h"

#include <utility>

namespace hydrad {

Json ModelObject(const ServedModel& model, const std::string& base_model, int64_t started) {
  const bool base = model.name.empty();
  const std::string& name = base ? base_model : model.name;
  Json out = {{"id", name},           {"object", "model"}, {"created", base ? started : model.loaded},
              {"owned_by", "hydrad"}, {"root", name},      {"parent", nullptr}};
  if (base) return out;
  out["parent"] = base_model;
  Json own = {{"family", model.family}, {"generation", model.generation}, {"experts", model.experts}};
  if (!model.expert_names.empty()) own["expert_names"] = model.expert_names;
  if (model.added_tokens > 0) own["added_tokens"] = model.added_tokens;
  out["hydrad"] = std::move(own);
  return out;
}

Json ModelList(const std::vector<ServedModel>& models, const std::string& base_model, int64_t started) {
  Json data = Json::array();
  for (const ServedModel& model : models) data.push_back(ModelObject(model, base_model, started));
  return {{"object", "list"}, {"data", std::move(data)}};
}

}  // namespace hydrad
