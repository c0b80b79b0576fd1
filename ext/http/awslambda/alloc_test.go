// SPDX-License-Identifier: Apache-2.0

package awslambda

import (
	"log/slog"
	"testing"

	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"

	"weir.dev/weir/proxy/aws/credentials"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream/streamtest"
)

// TestNoAllocation: an invocation is made and signed without allocation.
func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	k := maker{credentials.NewSet(credentials.Environment{})}
	s, err := k.settings(&awslambdav3.Config{
		Arn:         "arn:aws:lambda:us-east-1:123456789012:function:hello",
		Credentials: &awslambdav3.Credentials{AccessKeyId: "a", SecretAccessKey: "b", SessionToken: "c"},
	}, rig.Services)
	if err != nil {
		t.Fatal(err)
	}
	rig.AddFilter("lambda", &Filter{
		name: "lambda", always: true, own: s, log: slog.New(slog.DiscardHandler),
		stats: stats.Register[Stats](rig.Services.Stats.Scope("aws_lambda."), 1),
	})
	if n := rig.Allocs(streamtest.Request{Path: "/a?b=c&d=e", Header: []string{"x-a: 1", "accept: */*"}}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

const someAnswer = `{"statusCode":200,"headers":{"Content-Type":"text/plain","Cache-Control":"no-store"},"cookies":["a=b"],"body":"hello\n","isBase64Encoded":false}`

// TestNoAllocationOfAnswers: nor is there any for an answer without unusual headers.
func TestNoAllocationOfAnswers(t *testing.T) {
	var a answer
	var h header.Map
	var b []byte
	n := testing.AllocsPerRun(100, func() {
		b = append(b[:0], someAnswer...)
		h.Reset()
		if err := a.parse(b); err != nil {
			t.Fatal(err)
		}
		if body, err := a.apply(&h); err != nil || string(body) != "hello\n" {
			t.Fatalf("%q, %v", body, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	h := head("POST", "/a?b=c&d=e", "content-type: application/json", "x-a: 1", "accept: */*")
	body := []byte(`{"data":"this is test!"}`)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = appendEvent(dst[:0], h, body, true, true)
	}
}

func BenchmarkAnswer(b *testing.B) {
	var a answer
	var h header.Map
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text = append(text[:0], someAnswer...)
		h.Reset()
		if err := a.parse(text); err != nil {
			b.Fatal(err)
		}
		if _, err := a.apply(&h); err != nil {
			b.Fatal(err)
		}
	}
}
