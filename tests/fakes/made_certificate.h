// Certificates made as tests need them.
#ifndef HYDRAD_TESTS_FAKES_MADE_CERTIFICATE_H_
#define HYDRAD_TESTS_FAKES_MADE_CERTIFICATE_H_

#include <string>

namespace hydrad {

// In PEM, for 127.0.0.1 and localhost.
struct MadeCertificate {
  std::string certificate, key;
};

// One that vouches for itself and, as `issuer`, for others; it may be a server's and a client's.
MadeCertificate MakeAuthority();
// One that `issuer` vouches for from so many seconds before now to so many after it; either may be negative.
MadeCertificate MakeCertificate(const MadeCertificate& issuer, long since = 60, long until = 3600);
// The key with a pass phrase.
std::string Locked(const std::string& key);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_MADE_CERTIFICATE_H_
