#include "server/base/unknown_word.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace hydrad {
namespace {

// Damerau's distance in which no part is edited twice (optimal string alignment).
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> at(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) at[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) at[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = at[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      at[i][j] = std::min({at[i - 1][j] + 1, at[i][j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) at[i][j] = std::min(at[i][j], at[i - 2][j - 2] + 1);
    }
  }
  return at[a.size()][b.size()];
}

std::string_view OptionName(std::string_view argument) { return argument.substr(0, argument.find('=')); }

// The option of `app` or, as options fall through, of a command above it.
const CLI::Option* FindOption(const CLI::App* app, const std::string& name) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

std::vector<std::string> OptionNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

const CLI::App* FindCommand(const CLI::App& app, const std::string& name) {
  const auto commands = app.get_subcommands([&](const CLI::App* c) { return c->get_name() == name; });
  return commands.empty() ? nullptr : commands.front();
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

}  // namespace

std::optional<std::string> Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 256;  // of a word that somebody has typed
  if (word.size() > kLongest) return std::nullopt;
  std::optional<std::string> nearest;
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    const size_t distance = Distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::optional<std::string> nearest = Nearest(word, candidates);
  return nearest ? fmt::format("; did you mean '{}'?", *nearest) : "";
}

std::optional<std::string> UnknownWord(const CLI::App& app, const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") return std::nullopt;
    if (argument.size() > 1 && argument.starts_with('-')) {
      const std::string name(OptionName(argument));
      const CLI::Option* option = FindOption(command, name);
      if (option == nullptr) {
        return fmt::format("unknown option '{}'{}", name, DidYouMean(name, OptionNames(command)));
      }
      if (option->get_items_expected_min() > 0 && argument == name) ++i;  // what follows is its value
    } else if (const auto names = CommandNames(*command); !names.empty()) {
      const CLI::App* next = FindCommand(*command, argument);
      if (next == nullptr)
        return fmt::format("unknown command '{}'{}", argument, DidYouMean(argument, names));
      command = next;
    }
  }
  return std::nullopt;
}

}  // namespace hydrad
