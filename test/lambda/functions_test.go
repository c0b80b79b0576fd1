// SPDX-License-Identifier: Apache-2.0

package lambda

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/internal/fnserver"
	"weir.dev/weir/proxy/aws/awstest"
	"weir.dev/weir/test/fntest"
	"weir.dev/weir/test/weirtest"
)

// rollout are objects: two Functions with weights, and one that is mirrored to.
const rollout = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weir}
spec: {controllerName: weir.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: PORT, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello}
spec:
  parentRefs: [{name: edge}]
  rules:
  - filters:
    - {type: RequestMirror, requestMirror: {backendRef: {group: weir.dev, kind: Function, name: copy}}}
    backendRefs:
    - {group: weir.dev, kind: Function, name: one, weight: ONE}
    - {group: weir.dev, kind: Function, name: two, weight: TWO}
`

func functionOf(name, spec string) string {
	return "---\napiVersion: weir.dev/v1alpha1\nkind: Function\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

// TestFunctions rolls out functions of every kind by their weights, which change under
// load, and no request fails. Each is mirrored to a third.
func TestFunctions(t *testing.T) {
	var copies atomic.Int64
	fns := func(t *testing.T) string {
		s, addr := fntest.Serve(t)
		for _, name := range []string{"one", "two"} {
			s.Add(fnserver.Function{App: "app", Path: "/" + name, ID: name, Run: fnserver.Text(name)})
		}
		s.Add(fnserver.Function{ID: "copy", App: "app", Path: "/copy", Run: fnserver.Here(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { copies.Add(1) }))})
		return addr
	}
	for kind, specOf := range map[string]func(t *testing.T) func(name string) string{
		"fn by trigger": func(t *testing.T) func(string) string {
			addr := fns(t)
			return func(name string) string {
				return `{fn: {server: {url: "http://` + addr + `"}, app: app, trigger: ` + name + `}}`
			}
		},
		"fn by route": func(t *testing.T) func(string) string {
			addr := fns(t)
			return func(name string) string {
				return `{fn: {server: {url: "http://` + addr + `"}, app: app, route: ` + name + `, placement: Consistent}}`
			}
		},
		"fn by id": func(t *testing.T) func(string) string {
			addr := fns(t)
			return func(name string) string { return `{fn: {server: {url: "http://` + addr + `"}, id: ` + name + `}}` }
		},
		"lambda": func(t *testing.T) func(string) string {
			api := awstest.NewLambda(t, awstest.NewAccount(), false)
			api.Add("one", awstest.Result(`{"body":"one"}`))
			api.Add("two", awstest.Result(`{"body":"two"}`))
			api.Add("copy", awstest.Result(`{"body":"copy"}`))
			t.Cleanup(func() {
				for _, c := range api.Calls() {
					if c.Function == "copy" {
						copies.Add(1)
					}
				}
			})
			return func(name string) string {
				return `{lambda: {arn: "` + awstest.ARN(name) + `", url: "http://` + api.Addr + `", credentials: {secretRef: {name: aws}}}}`
			}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			copies.Store(0)
			spec := specOf(t)
			rollOut(t, spec)
			if kind != "lambda" && copies.Load() == 0 {
				t.Error("nothing was mirrored")
			}
		})
	}
}

// rollOut changes the weights of two functions under load.
func rollOut(t *testing.T, spec func(name string) string) {
	port := weirtest.FreePort(t)
	file := filepath.Join(t.TempDir(), "objects.yaml")
	write := func(one, two int) {
		text := strings.NewReplacer("PORT", port, "ONE", fmt.Sprint(one), "TWO", fmt.Sprint(two)).Replace(rollout)
		for _, name := range []string{"one", "two", "copy"} {
			text += functionOf(name, spec(name))
		}
		text += "---\napiVersion: v1\nkind: Secret\nmetadata: {name: aws}\nstringData: {aws_access_key_id: " + awstest.AccessKeyID + ", aws_secret_access_key: " + awstest.SecretAccessKey + "}\n"
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(100, 0)
	weirtest.Start(t, "run", file, "--admin", "", "--drain-strategy", "immediate").WaitFor("Ready.")

	answers, stop := make(chan string), make(chan struct{})
	var clients sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: 4}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	for range 4 {
		clients.Go(func() {
			for {
				answer, err := get(client, "http://127.0.0.1:"+port+"/hello")
				if err != nil {
					answer = err.Error()
				}
				select {
				case answers <- answer:
				case <-stop:
					return
				}
			}
		})
	}
	defer func() {
		close(stop)
		clients.Wait()
		transport.CloseIdleConnections()
	}()
	await(t, answers, 100, 0)
	for _, w := range [][2]int{{50, 50}, {0, 100}, {50, 50}, {100, 0}} {
		write(w[0], w[1])
		await(t, answers, w[0], w[1])
	}
}

// await waits until of some answers in a row the shares are as weights say. Every answer
// is one of a function.
func await(t *testing.T, answers <-chan string, one, two int) {
	t.Helper()
	seen := map[string]int{}
	for deadline := time.After(time.Minute); ; {
		clear(seen)
		for range 100 {
			select {
			case a := <-answers:
				if seen[a]++; a != "one" && a != "two" {
					t.Fatalf("weights %d and %d: a request failed: %s", one, two, a)
				}
			case <-deadline:
				t.Fatalf("weights %d and %d: answers are %v", one, two, seen)
			}
		}
		if (seen["one"] > 0) == (one > 0) && (seen["two"] > 0) == (two > 0) {
			return
		}
	}
}

// TestPlacement has all calls of a function go to one server of several, as long as it has
// room, and those that it refuses to another.
func TestPlacement(t *testing.T) {
	const several = 4
	var servers [several]*fnserver.Server
	endpoints := ""
	for i := range servers {
		s, addr := fntest.Serve(t)
		s.Add(fnserver.Function{ID: "hello", Run: fnserver.Text("hello")})
		servers[i] = s
		host, port, _ := strings.Cut(addr, ":")
		endpoints += "{ip: {address: " + host + ", port: " + port + "}}, "
	}
	port := weirtest.FreePort(t)
	head, _, _ := strings.Cut(rollout, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute")
	text := strings.Replace(head, "PORT", port, 1) + `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{group: weir.dev, kind: Function, name: hello}]}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: fn}
spec: {endpoints: [` + endpoints + `]}
` + functionOf("hello", `{fn: {server: {kind: Backend, name: fn}, id: hello, placement: Consistent}}`)
	file := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	weirtest.Start(t, "run", file, "--admin", "", "--drain-strategy", "immediate").WaitFor("Ready.")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	ask := func() {
		t.Helper()
		if answer, err := get(client, "http://127.0.0.1:"+port+"/"); answer != "hello" {
			t.Fatalf("%q, %v", answer, err)
		}
	}
	const calls = 20
	for range calls {
		ask()
	}
	home := 0
	for i, s := range servers {
		switch s.Calls() {
		case calls:
			home = i
		case 0:
		default:
			t.Errorf("server %d was called %d times", i, s.Calls())
		}
	}
	for range calls {
		servers[home].Busy(1)
		ask()
	}
	others := 0
	for i, s := range servers {
		if i != home {
			others += s.Calls()
		}
	}
	if servers[home].Calls() != 2*calls || others != calls {
		t.Errorf("the function's own server was called %d times, and others %d times", servers[home].Calls(), others)
	}
	for _, s := range servers {
		s.Busy(100)
	}
	if answer, err := get(client, "http://127.0.0.1:"+port+"/"); err == nil || !strings.Contains(answer, "server too busy") {
		t.Errorf("all are busy: %q, %v", answer, err)
	}
}

func get(c *http.Client, url string) (string, error) {
	res, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	return string(body), err
}
