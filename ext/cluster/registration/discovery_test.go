// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds/ledger/ledgertest"
	"weir.dev/weir/xds/typedstruct"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.RunStruct(t, "fields.txt", Type, "cluster", "service_name", "refresh_delay", "request_timeout")
}

func TestParse(t *testing.T) {
	tests := []struct{ name, body, want, err string }{
		{"none", `{"hosts":[]}`, "", ""},
		{"plain", `{"hosts":[{"ip_address":"10.0.0.1","port":80},{"ip_address":"::1","port":81}]}`, "10.0.0.1:80/1//false [::1]:81/1//false", ""},
		{
			"tags", `{"hosts":[{"ip_address":"10.0.0.1","port":80,"revision":"x","tags":{"az":"a","canary":true,"load_balancing_weight":20,"instance_id":"i"}}],"service":"s"}`,
			"10.0.0.1:80/20/a/true", "",
		},
		{"empty tags", `{"hosts":[{"ip_address":"10.0.0.1","port":80,"tags":{}}]}`, "10.0.0.1:80/1//false", ""},
		{"no hosts", `{}`, "", `no "hosts"`},
		{"a name", `{"hosts":[{"ip_address":"a.example","port":80}]}`, "", `hosts[0].ip_address: "a.example" is not an IP address`},
		{"no port", `{"hosts":[{"ip_address":"10.0.0.1"}]}`, "", "hosts[0].port: 0 is not a port"},
		{"a weight of 0", `{"hosts":[{"ip_address":"10.0.0.1","port":1,"tags":{"load_balancing_weight":0}}]}`, "", "0 is not from 1 to 100"},
		{"a weight of 101", `{"hosts":[{"ip_address":"10.0.0.1","port":1,"tags":{"load_balancing_weight":101}}]}`, "", "101 is not from 1 to 100"},
		{"not JSON", `<html>`, "", "not what version 1 of the API says"},
		{"another type", `{"hosts":[{"ip_address":1}]}`, "", "not what version 1 of the API says"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse([]byte(tt.body))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, %v, want %q", got, err, tt.err)
				}
				return
			}
			if text := textOf(got); err != nil || text != tt.want || got == nil {
				t.Errorf("got %q, %v, want %q", text, err, tt.want)
			}
		})
	}
}

func textOf(list []upstream.Endpoint) string {
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%v/%d/%s/%v", e.Address, e.Weight, e.Locality.Zone, e.Canary()))
	}
	return strings.Join(out, " ")
}

// FuzzParse proves that no answer panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"hosts":[{"ip_address":"10.0.0.1","port":80,"tags":{"az":"a","canary":true,"load_balancing_weight":20}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := parse(body)
		for _, e := range list {
			if err != nil || !e.Address.IsValid() || e.Weight < 1 || e.Weight > 100 {
				t.Errorf("%+v, %v", e, err)
			}
		}
	})
}

// service is a fake Caller.
type service struct {
	mu     sync.Mutex
	status int
	body   string
	err    error
	asked  []string
	times  []time.Time
}

func (s *service) say(status int, body string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body, s.err = status, body, err
}

func (s *service) Get(ctx context.Context, cluster, path string, timeout time.Duration, limit int) (int, []byte, error) {
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprintf("%s %s %v %d", cluster, path, timeout, limit))
	s.times = append(s.times, time.Now())
	status, body, err := s.status, s.body, s.err
	s.mu.Unlock()
	if body == "hang" {
		<-ctx.Done()
		return 0, nil, ctx.Err()
	}
	return status, []byte(body), err
}

// told keeps what discovery told last.
type told struct {
	mu   sync.Mutex
	text string
	n    int
}

func (o *told) update(list []upstream.Endpoint, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n++
	o.text = textOf(list)
	if err != nil {
		o.text = "error: " + err.Error()
	}
}

func (o *told) now() (string, int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text, o.n
}

const one = `{"hosts":[{"ip_address":"10.0.0.1","port":80}]}`

func TestAsksAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := &service{status: 200, body: one}, &told{}
		var log bytes.Buffer
		d := New(Options{Cluster: "sds", Path: "/v1/registration/shop", Delay: time.Second, Timeout: 2 * time.Second}, s, slog.New(slog.NewTextHandler(&log, nil)))
		if err := d.Start(o.update); err != nil {
			t.Fatal(err)
		}
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got, _ := o.now(); !strings.HasPrefix(got, want) || want == "" && got != "" {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		expect("10.0.0.1:80/1//false")
		s.say(200, `{"hosts":[]}`, nil)
		time.Sleep(2 * time.Second)
		expect("")
		s.say(503, "", nil)
		time.Sleep(2 * time.Second)
		expect("error: ask sds for /v1/registration/shop: the answer is 503")
		s.say(0, "", errors.New("no luck"))
		time.Sleep(2 * time.Second)
		expect("error: ask sds for /v1/registration/shop: no luck")
		s.say(200, "x", nil)
		time.Sleep(2 * time.Second)
		expect("error: ask sds for /v1/registration/shop: the answer is not")
		s.say(200, one, nil)
		time.Sleep(100 * time.Second)
		expect("10.0.0.1:80/1//false")
		s.mu.Lock()
		if want := "sds /v1/registration/shop 2s 16777216"; s.asked[0] != want {
			t.Errorf("asked %q, want %q", s.asked[0], want)
		}
		differ := false
		for i := 1; i < len(s.times); i++ {
			gap := s.times[i].Sub(s.times[i-1])
			if gap < time.Second || gap >= 2*time.Second {
				t.Errorf("asked again after %v", gap)
			}
			differ = differ || i > 1 && gap != s.times[i-1].Sub(s.times[i-2])
		}
		if !differ {
			t.Error("asks without jitter")
		}
		s.mu.Unlock()
		s.say(200, "hang", nil)
		time.Sleep(2 * time.Second)
		d.Close()
		if n := strings.Count(log.String(), "level=WARN"); n != 3 || strings.Count(log.String(), "answered again") != 1 {
			t.Errorf("log:\n%s", log.String())
		}
		_, n := o.now()
		time.Sleep(time.Hour)
		if _, after := o.now(); after != n {
			t.Error("told after the end")
		}
	})
}

// TestAClusterThatNobodyHas proves that the warm-up ends although nobody can be asked.
func TestAClusterThatNobodyHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &told{}
		d := New(Options{Cluster: "nobody", Path: "/", Delay: time.Second, Timeout: time.Second}, &service{body: "hang"}, nil)
		if err := d.Start(o.update); err != nil {
			t.Fatal(err)
		}
		time.Sleep(patience + 2*time.Second)
		synctest.Wait()
		if text, _ := o.now(); !strings.HasPrefix(text, "error: ask nobody") {
			t.Errorf("told %q", text)
		}
		d.Close()
	})
}

func TestCompile(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"all", `{"cluster":"sds","service_name":"a","refresh_delay":"1s","request_timeout":"0.5s"}`, ""},
		{"little", `{"cluster":"sds"}`, ""},
		{"no cluster", `{"service_name":"a"}`, "names no cluster to ask (add cluster)"},
		{"itself", `{"cluster":"shop"}`, "the cluster asks itself"},
		{"no service", `{"cluster":"sds","service_name":""}`, "names no service"},
		{"no delay", `{"cluster":"sds","refresh_delay":"0s"}`, "refresh_delay is not at least 1 ms"},
		{"no time", `{"cluster":"sds","request_timeout":"0s"}`, "request_timeout is not at least 1 ms"},
		{"a slip", `{"clustr":"sds"}`, `did you mean "cluster"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := typedstruct.New(Type)
			s.Value = &structpb.Struct{}
			if err := protojson.Unmarshal([]byte(tt.value), s.Value); err != nil {
				t.Fatal(err)
			}
			a, err := anypb.New(s)
			if err != nil {
				t.Fatal(err)
			}
			_, err = compile(&upstream.DiscoveryConfig{Cluster: "shop", Typed: a})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, err := compile(&upstream.DiscoveryConfig{Cluster: "shop", Typed: a, Targets: make([]upstream.Target, 1)}); err == nil {
				t.Error("takes hosts of the file beside those that it discovers")
			}
		})
	}
}
