#include "server/base/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "tests/fakes/made_certificate.h"

namespace hydrad {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CertificatesTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = testing::TempDir() + "/hydrad_certificates_" + std::to_string(getpid()) + name;
    std::ofstream(path) << text;
    return path;
  }
  // What is wrong with these texts, as files; "" if nothing is.
  std::string Wrong(const std::string& certificate, const std::string& key, const std::string* ca = nullptr) {
    TlsFiles files = {Write("cert", certificate), Write("key", key), ""};
    if (ca != nullptr) files.client_ca = Write("ca", *ca);
    return std::string(ReadCertificates(files).status().message());
  }

  const MadeCertificate authority_ = MakeAuthority();
  const MadeCertificate own_ = MakeCertificate(authority_);
};

TEST_F(CertificatesTest, ReadsTheTexts) {
  const absl::StatusOr<Certificates> read =
      ReadCertificates({Write("cert", own_.certificate + authority_.certificate), Write("key", own_.key),
                        Write("ca", authority_.certificate + own_.certificate)});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->chain, own_.certificate + authority_.certificate);
  EXPECT_EQ(read->key, own_.key);
  EXPECT_EQ(read->client_ca, authority_.certificate + own_.certificate);
  EXPECT_THAT(read->until, HasSubstr("GMT"));
}

TEST_F(CertificatesTest, WhatIsWrongIsSaidWithOptionAndFile) {
  EXPECT_THAT(std::string(ReadCertificates({"/nowhere", "/nowhere", ""}).status().message()),
              AllOf(HasSubstr("--tls-cert"), HasSubstr("/nowhere")));
  EXPECT_THAT(Wrong("", own_.key), AllOf(HasSubstr("--tls-cert"), HasSubstr("cert' holds no certificates")));
  EXPECT_THAT(Wrong(own_.key, own_.key), HasSubstr("cert' holds no certificates"));
  const std::string half = own_.certificate.substr(0, own_.certificate.size() / 2);
  EXPECT_THAT(Wrong(half, own_.key), HasSubstr("cert' holds no certificates"));
  EXPECT_THAT(Wrong(own_.certificate + half, own_.key), HasSubstr("cert' holds no certificates"));
  EXPECT_THAT(Wrong(own_.certificate, ""),
              AllOf(HasSubstr("--tls-key"), HasSubstr("key' holds no private key")));
  EXPECT_THAT(Wrong(own_.certificate, own_.certificate), HasSubstr("holds no private key"));
  EXPECT_THAT(Wrong(own_.certificate, Locked(own_.key)), HasSubstr("pass phrase"));
  EXPECT_THAT(Wrong(own_.certificate, authority_.key),
              HasSubstr("key' is not the key of the certificate in"));
  const std::string no_ca = "nobody";
  EXPECT_THAT(Wrong(own_.certificate, own_.key, &no_ca),
              AllOf(HasSubstr("--tls-client-ca"), HasSubstr("ca' holds no certificates")));
  EXPECT_EQ(Wrong(own_.certificate, own_.key), "");
}

TEST_F(CertificatesTest, OnlyWhatIsValidNowIsTaken) {
  const MadeCertificate old = MakeCertificate(authority_, 7200, -3600);
  EXPECT_THAT(Wrong(old.certificate, old.key), HasSubstr("cert' has expired on "));
  const MadeCertificate coming = MakeCertificate(authority_, -3600, 7200);
  EXPECT_THAT(Wrong(coming.certificate, coming.key), HasSubstr("cert' is valid from "));
}

TEST_F(CertificatesTest, TheHolderGivesWhatIsThereNow) {
  CertificateHolder holder({.chain = "one", .key = "k", .client_ca = "", .until = ""});
  EXPECT_FALSE(holder.asks_clients());
  const auto first = holder.current();
  EXPECT_EQ(holder.current(), first);
  holder.Replace({.chain = "two", .key = "k", .client_ca = "", .until = ""});
  EXPECT_EQ(first->chain, "one") << "whoever has it keeps it";
  EXPECT_EQ(holder.current()->chain, "two");
}

}  // namespace
}  // namespace hydrad
