// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	_ "google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/grpcframe"
	"weir.dev/weir/proxy/stream/streamtest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// shop is the descriptor set of testdata/shop.txtpb with all it depends on.
func shop(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/shop.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	file := &descriptorpb.FileDescriptorProto{}
	if err := prototext.Unmarshal(text, file); err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		d, err := protoregistry.GlobalFiles.FindFileByPath(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range d.Imports().Len() {
			add(d.Imports().Get(i).Path())
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(d))
	}
	for _, d := range file.GetDependency() {
		add(d)
	}
	set.File = append(set.File, file)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// config is a configuration for the shop; more are further fields of it.
func config(t testing.TB, more string) string {
	t.Helper()
	if more != "" {
		more = "," + more
	}
	return `{"services":["shop.Shop"],"proto_descriptor_bin":"` + base64.StdEncoding.EncodeToString(shop(t)) + `"` + more + `}`
}

func rig(t testing.TB, more string) *streamtest.Rig {
	t.Helper()
	r := streamtest.New(t)
	r.Add(Extension(), config(t, more))
	return r
}

// messages makes frames of the shop's messages in JSON.
type messages struct {
	t     testing.TB
	files *protoregistry.Files
}

func newMessages(t testing.TB) *messages {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(shop(t), set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	return &messages{t, files}
}

func (k *messages) empty(name string) *dynamicpb.Message {
	k.t.Helper()
	d, err := k.files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		k.t.Fatal(err)
	}
	md, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		k.t.Fatalf("%s is no message", name)
	}
	return dynamicpb.NewMessage(md)
}

func (k *messages) frame(name, json string) string {
	k.t.Helper()
	m := k.empty(name)
	if err := (protojson.UnmarshalOptions{Resolver: dynamicpb.NewTypes(k.files)}).Unmarshal([]byte(json), m); err != nil {
		k.t.Fatalf("%s: %v", json, err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(grpcframe.AppendHead(nil, 0, len(b))) + string(b)
}

func (k *messages) frames(name string, json ...string) string {
	k.t.Helper()
	var b strings.Builder
	for _, j := range json {
		b.WriteString(k.frame(name, j))
	}
	return b.String()
}

func cut(s string, n int) (p []streamtest.Piece) {
	for len(s) > 0 {
		k := min(n, len(s))
		p = append(p, streamtest.Piece{Data: s[:k]})
		s = s[k:]
	}
	return p
}

// grpc is a gRPC response.
func grpc(body string, piece int, trailer ...string) streamtest.Upstream {
	if trailer == nil {
		trailer = []string{"grpc-status: 0"}
	}
	return streamtest.Upstream{Header: []string{"content-type: application/grpc"}, Body: cut(body, piece), Chunked: true, Trailer: trailer}
}
