#include "tests/e2e/nearly_valid.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

namespace hydrad {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kDeepest = 4;

// A number as an integer type takes it: the nearest it has, 0 for NaN.
template <class T>
T Narrow(double x) {
  if (!(x == x)) return 0;
  if (x <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (x >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(x);
}

// Sets a singular field, or adds to a repeated one.
template <class Set, class Add, class T>
void Put(Message* message, const FieldDescriptor& field, Set set, Add add, T value) {
  const auto& reflection = *message->GetReflection();
  if (field.is_repeated()) {
    (reflection.*add)(message, &field, std::move(value));
  } else {
    (reflection.*set)(message, &field, std::move(value));
  }
}

void PutNumber(Message* message, const FieldDescriptor& field, double x) {
  const auto put = [&](auto set, auto add, auto value) { Put(message, field, set, add, value); };
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return put(&Reflection::SetInt32, &Reflection::AddInt32, Narrow<int32_t>(x));
    case FieldDescriptor::CPPTYPE_INT64:
      return put(&Reflection::SetInt64, &Reflection::AddInt64, Narrow<int64_t>(x));
    case FieldDescriptor::CPPTYPE_UINT32:
      return put(&Reflection::SetUInt32, &Reflection::AddUInt32, Narrow<uint32_t>(x));
    case FieldDescriptor::CPPTYPE_UINT64:
      return put(&Reflection::SetUInt64, &Reflection::AddUInt64, Narrow<uint64_t>(x));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return put(&Reflection::SetFloat, &Reflection::AddFloat, static_cast<float>(x));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return put(&Reflection::SetDouble, &Reflection::AddDouble, x);
    case FieldDescriptor::CPPTYPE_BOOL:
      return put(&Reflection::SetBool, &Reflection::AddBool, Narrow<int32_t>(x) % 2 != 0);
    case FieldDescriptor::CPPTYPE_ENUM:
      return put(&Reflection::SetEnumValue, &Reflection::AddEnumValue, Narrow<int32_t>(x));
    default:
      return;
  }
}

}  // namespace

std::string NearlyValid::Bytes(size_t count) {
  std::string bytes(count, '\0');
  for (char& c : bytes) c = static_cast<char>(random_());
  return bytes;
}

std::string NearlyValid::Make(const Message& prototype) {
  const std::unique_ptr<Message> message(prototype.New());
  Fill(message.get(), 0);
  for (int i = OneIn(3) ? 0 : 1 + Below(3); i > 0; --i) Spoil(message.get());
  std::string bytes = message->SerializeAsString();
  if (OneIn(8)) {  // as if of two: the last of a oneof counts, messages are merged
    message->Clear();
    Fill(message.get(), 0);
    bytes += message->SerializeAsString();
  }
  return OneIn(8) ? SpoilBytes(std::move(bytes)) : bytes;
}

void NearlyValid::Fill(Message* message, int depth) {
  const auto& descriptor = *message->GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    // What names or bounds the request is nearly always there.
    const bool wanted = words_.contains(field.name()) || field.name() == "stopping" ||
                        field.name() == "max_tokens" || field.name() == "ids" || field.name() == "messages";
    if (wanted ? !OneIn(10) : OneIn(12)) FillField(message, field, depth);
  }
}

void NearlyValid::FillField(Message* message, const Field& field, int depth) {
  const auto& reflection = *message->GetReflection();
  for (int i = field.is_repeated() ? Below(4) : 1; i > 0; --i) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      PutScalar(message, field, /*odd=*/false);
    } else if (depth < kDeepest) {
      Fill(field.is_repeated() ? reflection.AddMessage(message, &field)
                               : reflection.MutableMessage(message, &field),
           depth + 1);
    }
  }
}

void NearlyValid::Spoil(Message* message) {
  // Down to the message to be spoiled.
  for (int depth = 0; depth < kDeepest; ++depth) {
    const auto& reflection = *message->GetReflection();
    std::vector<const Field*> set;
    reflection.ListFields(*message, &set);
    std::erase_if(set, [](const Field* field) {
      return field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map();
    });
    if (set.empty() || OneIn(3)) break;
    const Field& field = *set[Below(static_cast<int>(set.size()))];
    message = field.is_repeated() ? reflection.MutableRepeatedMessage(
                                        message, &field, Below(reflection.FieldSize(*message, &field)))
                                  : reflection.MutableMessage(message, &field);
  }
  const auto& descriptor = *message->GetDescriptor();
  if (OneIn(8) || descriptor.field_count() == 0) {
    auto* unknown = message->GetReflection()->MutableUnknownFields(message);
    unknown->AddVarint(1 + Below(1 << 28), random_());
    unknown->AddLengthDelimited(1 + Below(100), Bytes(Below(64)));
    return;
  }
  SpoilField(message, *descriptor.field(Below(descriptor.field_count())));
}

void NearlyValid::SpoilField(Message* message, const Field& field) {
  const auto& reflection = *message->GetReflection();
  if (OneIn(4)) return reflection.ClearField(message, &field);
  const int count = !field.is_repeated() ? 1 : OneIn(4) ? Below(3000) : Below(20);
  for (int i = 0; i < count; ++i) {
    if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      PutScalar(message, field, /*odd=*/true);
    } else {
      Message* inner = field.is_repeated() ? reflection.AddMessage(message, &field)
                                           : reflection.MutableMessage(message, &field);
      if (OneIn(2)) Fill(inner, kDeepest - 1);
      if (const auto& type = *inner->GetDescriptor(); type.field_count() > 0) {
        const Field& part = *type.field(Below(type.field_count()));
        if (part.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) PutScalar(inner, part, /*odd=*/true);
      }
    }
  }
}

void NearlyValid::PutScalar(Message* message, const Field& field, bool odd) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING)
    return Put(message, field, &Reflection::SetString, &Reflection::AddString,
               odd ? OddText(field) : Word(field));
  PutNumber(message, field, field.name() == "max_tokens" && !odd ? 1 + Below(6) : Number(odd));
}

std::string NearlyValid::Word(const Field& field) {
  const auto words = words_.find(field.name());
  if (words == words_.end()) return OneIn(2) ? "" : "word";
  return words->second[Below(static_cast<int>(words->second.size()))];
}

std::string NearlyValid::OddText(const Field& field) {
  switch (Below(10)) {
    case 0:
      return "";
    case 1:
      return std::string(1 + Below(300), 'a');
    case 2:
      return std::string(OneIn(10) ? 1'100'000 : Below(20'000), OneIn(2) ? ' ' : 'z');
    case 3:
      return std::string("a\0b", 3) + Word(field);
    case 4:
      return "../" + Word(field) + "/./..//";
    case 5:
      return Word(field) + Word(field);
    case 6: {  // accents upon accents, joiners, a right-to-left mark, what is beyond the first plane
      std::string text;
      for (int i = Below(200); i > 0; --i) {
        const char* pieces[] = {"e\u0301",    "\u0300", "\u200d", "\u202e",
                                "\U0001f469", "\ufffd", "\u0130", "\n"};
        text += pieces[Below(8)];
      }
      return text;
    }
    case 7:
      return Bytes(1 + Below(20));  // hardly ever UTF-8
    case 8:
      return Word(field) + "\xf0\x9f";  // cut
    default:
      return Word(field);
  }
}

double NearlyValid::Number(bool odd) {
  if (!odd) return OneIn(3) ? Below(1000) / 1000.0 : Below(4);
  using Limits = std::numeric_limits<double>;
  const double odd_ones[] = {0,
                             -0.0,
                             -1,
                             1e-45,
                             1e-39,
                             -1e-45,
                             1e-7,
                             0.5,
                             2147483647,
                             -2147483648.0,
                             1e19,
                             -1e19,
                             3e38,
                             -3e38,
                             1e300,
                             -1e300,
                             100,
                             -100,
                             2,
                             10,
                             16,
                             20,
                             1000,
                             1024,
                             511,
                             512,
                             4096,
                             65536,
                             1e9,
                             Limits::quiet_NaN(),
                             Limits::infinity(),
                             -Limits::infinity()};
  const int which = Below(static_cast<int>(std::size(odd_ones)) + 4);
  if (which < static_cast<int>(std::size(odd_ones))) return odd_ones[which];
  return (Below(2'000'001) - 1'000'000) / (OneIn(2) ? 1000.0 : 1.0);
}

std::string NearlyValid::SpoilBytes(std::string bytes) {
  switch (Below(4)) {
    case 0:
      return bytes.substr(0, Below(static_cast<int>(bytes.size()) + 1));
    case 1:
      return bytes + Bytes(1 + Below(10));
    case 2:
      return Bytes(Below(100));
    default:
      for (int i = 1 + Below(4); i > 0 && !bytes.empty(); --i)
        bytes[Below(static_cast<int>(bytes.size()))] = static_cast<char>(random_());
      return bytes;
  }
}

}  // namespace hydrad
