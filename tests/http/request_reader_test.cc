#include "server/http/request_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hydrad {
namespace {

using testing::HasSubstr;
using State = RequestReader::State;

constexpr RequestBounds kBounds = {.head_bytes = 1000, .body_bytes = 100};

struct Outcome {
  State state;
  int error;
  RequestHead head;
  std::string body;
  std::string rest;
};

// What becomes of bytes that come `step` at a time.
Outcome Read(std::string_view bytes, size_t step) {
  RequestReader reader(kBounds);
  size_t at = 0;
  while (at < bytes.size() && reader.state() != State::kDone && reader.state() != State::kBad) {
    const std::string_view some = bytes.substr(at, step);
    const size_t used = reader.Put(some);
    EXPECT_LE(used, some.size());
    at += used;
    if (used == 0 && reader.state() == State::kHead) break;
  }
  Outcome out{.state = reader.state(), .error = reader.error_status(), .head = {}, .body = "", .rest = ""};
  out.rest = bytes.substr(at);
  if (out.state == State::kDone) out.body = reader.TakeBody();
  if (out.state == State::kDone || out.state == State::kBody) out.head = reader.head();
  return out;
}

Outcome ReadAll(const std::string& bytes) {
  const Outcome whole = Read(bytes, bytes.size() + 1);
  for (const size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{50}}) {
    const Outcome cut = Read(bytes, step);
    EXPECT_EQ(cut.state, whole.state) << step << " " << bytes;
    EXPECT_EQ(cut.error, whole.error) << step << " " << bytes;
    EXPECT_EQ(cut.body, whole.body) << step << " " << bytes;
    if (whole.state == State::kDone) {
      EXPECT_EQ(cut.rest, whole.rest) << step << " " << bytes;
    }
  }
  return whole;
}

TEST(RequestReaderTest, AHeadWithoutABody) {
  const Outcome got = ReadAll(
      "GET /v1/models?limit=3 HTTP/1.1\r\nHost: here:80\r\nAuthorization: Bearer k\r\nX-Request-Id: "
      "a-1\r\nOrigin: "
      "http://here:80\r\nAccept: text/html, */*\r\nIf-None-Match: \"x\"\r\n\r\nGET /next");
  ASSERT_EQ(got.state, State::kDone);
  EXPECT_EQ(got.head.method, "GET");
  EXPECT_EQ(got.head.path, "/v1/models");
  EXPECT_EQ(got.head.authorization, "Bearer k");
  EXPECT_EQ(got.head.request_id, "a-1");
  EXPECT_EQ(got.head.host, "here:80");
  EXPECT_EQ(got.head.origin, "http://here:80");
  EXPECT_EQ(got.head.accept, "text/html, */*");
  EXPECT_EQ(got.head.if_none_match, "\"x\"");
  EXPECT_TRUE(got.head.keep_alive);
  EXPECT_FALSE(got.head.http10 || got.head.has_body || got.head.expects_continue);
  EXPECT_EQ(got.rest, "GET /next") << "it is the next request's";
}

TEST(RequestReaderTest, ABodyOfALength) {
  const Outcome got =
      ReadAll("POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhelloPOST");
  ASSERT_EQ(got.state, State::kDone);
  EXPECT_TRUE(got.head.has_body && got.head.expects_continue);
  EXPECT_EQ(got.body, "hello");
  EXPECT_EQ(got.rest, "POST");
}

TEST(RequestReaderTest, ABodyInChunks) {
  const Outcome got = ReadAll(
      "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nTrailer: "
      "x\r\n\r\nPOST");
  ASSERT_EQ(got.state, State::kDone);
  EXPECT_EQ(got.body, "hello");
  EXPECT_EQ(got.rest, "POST");
}

TEST(RequestReaderTest, ItStopsBehindTheHead) {
  const std::string head = "POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
  RequestReader reader(kBounds);
  EXPECT_EQ(reader.Put(head + "he"), head.size());
  EXPECT_EQ(reader.state(), State::kBody);
  EXPECT_EQ(reader.Put("hello"), 5u);
  EXPECT_EQ(reader.state(), State::kDone);
}

TEST(RequestReaderTest, EmptyLinesBeforeARequestAreNoneOfIt) {
  RequestReader reader(kBounds);
  EXPECT_EQ(reader.Put("\r\n\r\n"), 4u);
  EXPECT_FALSE(reader.begun());
  EXPECT_EQ(ReadAll("\r\n\r\nGET / HTTP/1.1\r\n\r\n").state, State::kDone);
}

TEST(RequestReaderTest, OldClientsAndThoseThatLeave) {
  EXPECT_TRUE(ReadAll("GET / HTTP/1.0\r\n\r\n").head.http10);
  EXPECT_FALSE(ReadAll("GET / HTTP/1.0\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(ReadAll("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").head.keep_alive);
  EXPECT_EQ(ReadAll("GET http://here/v1/models HTTP/1.1\r\n\r\n").head.path, "/v1/models");
  EXPECT_EQ(ReadAll("GET http://here HTTP/1.1\r\n\r\n").head.path, "/");
}

TEST(RequestReaderTest, TwoKeysAreOneTooMany) {
  EXPECT_TRUE(
      ReadAll("GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n").head.authorized_twice);
}

TEST(RequestReaderTest, ANameThatMayNotBeToldIsNone) {
  EXPECT_EQ(ReadAll("GET / HTTP/1.1\r\nX-Request-Id: a b\r\n\r\n").head.request_id, "");
}

TEST(RequestReaderTest, WhatCouldBeReadInTwoWaysIsRefused) {
  const auto refused = [](const std::string& fields) {
    return ReadAll("POST /x HTTP/1.1\r\n" + fields + "\r\n0\r\n\r\n").error;
  };
  EXPECT_EQ(refused("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(refused("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400);
  EXPECT_EQ(refused("Content-Length: 5\r\nContent-Length: 6\r\n"), 400);
  EXPECT_EQ(refused("Content-Length: 5, 6\r\n"), 400);
  EXPECT_EQ(refused("Content-Length: -1\r\n"), 400);
  EXPECT_EQ(refused("Content-Length: 99999999999999999999\r\n"), 400);
  EXPECT_EQ(refused("Content-Length: 0x5\r\n"), 400);
  EXPECT_EQ(refused("Transfer-Encoding: gzip, chunked\r\n"), 501);
  EXPECT_EQ(refused("Transfer-Encoding: chunked, gzip\r\n"), 501);
  EXPECT_EQ(refused("Transfer-Encoding: identity\r\n"), 501);
  EXPECT_EQ(refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(refused("Content-Length : 5\r\n"), 400);
  EXPECT_EQ(refused("No colon\r\n"), 400);
}

TEST(RequestReaderTest, BytesThatAreNoRequest) {
  for (const std::string& bytes :
       {std::string("\x16\x03\x01\x02"), std::string("get / HTTP/1.1\r\n\r\n"), std::string("GET\r\n\r\n"),
        std::string("GET / HTTP/2.0\r\n\r\n"), std::string("GET /\x01 HTTP/1.1\r\n\r\n"),
        std::string("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")}) {
    EXPECT_EQ(ReadAll(bytes).error, 400) << bytes;
  }
}

TEST(RequestReaderTest, BoundsHoldHoweverTheBytesCome) {
  EXPECT_EQ(ReadAll("GET /" + std::string(2000, 'x')).error, 431) << "an endless first line";
  std::string fields;
  for (int i = 0; i < 400; ++i) fields += "A: b\r\n";
  EXPECT_EQ(ReadAll("GET / HTTP/1.1\r\n" + fields).error, 431) << "endless fields, whole ones at a time";
  RequestReader reader(kBounds);
  reader.Put("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 400 && reader.state() != State::kBad; ++i) reader.Put("A: b\r\n");
  EXPECT_EQ(reader.error_status(), 431);
  EXPECT_EQ(ReadAll("POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n").error, 413) << "before the body comes";
  EXPECT_EQ(ReadAll("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n30\r\n" + std::string(48, 'x') +
                    "\r\n40\r\n")
                .error,
            413);
  EXPECT_EQ(
      ReadAll("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(20000, 'x')).error,
      400);
  std::string trailers;
  for (int i = 0; i < 4000; ++i) trailers += "A: b\r\n";
  EXPECT_EQ(ReadAll("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + trailers).error, 400);
}

}  // namespace
}  // namespace hydrad
