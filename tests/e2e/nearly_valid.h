// Requests that are almost right: plausible ones by the names and types of their fields, then spoiled in a
// few places. Knows the messages by their descriptors alone, so that a new field or RPC is taken up by
// itself.
#ifndef HYDRAD_TESTS_E2E_NEARLY_VALID_H_
#define HYDRAD_TESTS_E2E_NEARLY_VALID_H_

#include <google/protobuf/message.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace hydrad {

class NearlyValid {
 public:
  // `words` are values that make sense, by the name of a string field.
  NearlyValid(uint64_t seed, std::map<std::string, std::vector<std::string>> words)
      : random_(seed), words_(std::move(words)) {}

  // The bytes of a request of the prototype's type, which need not parse.
  std::string Make(const google::protobuf::Message& prototype);

  int Below(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }
  std::string Bytes(size_t count);

 private:
  using Message = google::protobuf::Message;
  using Field = google::protobuf::FieldDescriptor;

  void Fill(Message* message, int depth);
  void FillField(Message* message, const Field& field, int depth);
  void Spoil(Message* message);
  void SpoilField(Message* message, const Field& field);
  // Sets a singular field, or adds to a repeated one.
  void PutScalar(Message* message, const Field& field, bool odd);
  std::string Word(const Field& field);
  std::string OddText(const Field& field);
  double Number(bool odd);
  std::string SpoilBytes(std::string bytes);

  std::mt19937_64 random_;
  const std::map<std::string, std::vector<std::string>> words_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_NEARLY_VALID_H_
