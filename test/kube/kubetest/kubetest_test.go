// SPDX-License-Identifier: Apache-2.0

package kubetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"weir.dev/weir/test/kube/kubetest"
	"weir.dev/weir/test/kube/program"
)

func TestMain(m *testing.M) { kubetest.Main(m, program.Own("greeter", "./kubetest/greeter")) }

// TestCluster tests what a cluster promises to its tests, in one cluster.
func TestCluster(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Channel: "standard"})
	t.Run("workload", func(t *testing.T) { testWorkload(t, c) })
	t.Run("volumes follow", func(t *testing.T) { testVolumes(t, c) })
	t.Run("services", func(t *testing.T) { testServices(t, c) })
	t.Run("restarts", func(t *testing.T) { testRestarts(t, c) })
	t.Run("trouble is told", func(t *testing.T) { testTrouble(t, c) })
	t.Run("in cluster", func(t *testing.T) { testInCluster(t, c) })
	t.Run("load balancers", func(t *testing.T) { testLoadBalancers(t, c) })
	t.Run("apiserver restarts", func(t *testing.T) { testAPIServer(t, c) })
	t.Run("deletion", func(t *testing.T) { testDeletion(t, c) })
}

const workload = `
apiVersion: v1
kind: Namespace
metadata: {name: work}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: work}
stringData: {word: swordfish, other: unseen}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: work}
data: {COLOUR: blue, file.txt: first}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: greeter, namespace: work}
spec:
  replicas: 2
  selector: {matchLabels: {app: greeter}}
  template:
    metadata: {labels: {app: greeter}, annotations: {note: seen}}
    spec:
      terminationGracePeriodSeconds: 5
      securityContext: {runAsUser: 65532, runAsGroup: 65532}
      initContainers:
      - name: before
        image: greeter:v1
        args: [cat, /etc/keys/password]
        volumeMounts: [{name: keys, mountPath: /etc/keys}]
      containers:
      - name: greeter
        image: greeter:v1
        env:
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
        - {name: WORD, valueFrom: {secretKeyRef: {name: keys, key: word}}}
        - {name: GREETING, value: "$(POD) is $(COLOUR), $$(POD) and $(UNKNOWN) stay"}
        envFrom: [{configMapRef: {name: settings}}]
        readinessProbe: {httpGet: {path: /ready, port: web}, periodSeconds: 1, failureThreshold: 1}
        ports: [{name: web, containerPort: 8080}]
        volumeMounts:
        - {name: keys, mountPath: /etc/keys, readOnly: true}
        - {name: settings, mountPath: /etc/settings}
      volumes:
      - {name: keys, secret: {secretName: keys, items: [{key: word, path: password}]}}
      - {name: settings, configMap: {name: settings}}
---
apiVersion: v1
kind: Service
metadata: {name: greeter, namespace: work}
spec:
  type: LoadBalancer
  selector: {app: greeter}
  ports: [{port: 80, targetPort: web}]
`

const deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: greeter, namespace: work}}`

func testWorkload(t *testing.T, c kubetest.Cluster) {
	c.Apply(t, workload)
	for _, pod := range pods(t, c) {
		want := map[string]string{
			"POD": pod.name, "ADDRESS": pod.address, "NOTE": "seen", "WORD": "swordfish", "COLOUR": "blue",
			"GREETING": pod.name + " is blue, $(POD) and $(UNKNOWN) stay", "file/etc/keys/password": "swordfish",
			"file/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n" + pod.address + " " + pod.name + "\n",
		}
		for path, text := range want {
			if got := get(t, pod.address, path); got != text {
				t.Errorf("%s of %s is %q, not %q", path, pod.name, got, text)
			}
		}
		if answer, err := http.Get("http://" + pod.address + ":8080/file/etc/keys/other"); err != nil || answer.StatusCode != http.StatusNotFound {
			t.Errorf("a key that is not mounted is there: %v, %v", answer, err)
		}
		if log, err := c.Output(t.Context(), "work", pod.name, "greeter"); err != nil || !strings.Contains(log, "greeter starts as user 65532\n") {
			t.Errorf("the log is %q, %v", log, err)
		}
		if log, err := c.Output(t.Context(), "work", pod.name, "before"); err != nil || log != "swordfish" {
			t.Errorf("the log of the init container is %q, %v", log, err)
		}
		out, err := c.Exec(t.Context(), "work", pod.name, "greeter", "greeter", "cat", "/etc/keys/password")
		if err != nil || out != "swordfish" {
			t.Errorf("exec says %q, %v", out, err)
		}
		if _, err := c.Exec(t.Context(), "work", pod.name, "greeter", "greeter", "cat", "/none"); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("exec that fails says %v", err)
		}
	}
}

func testVolumes(t *testing.T, c kubetest.Cluster) {
	c.Apply(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: work}, data: {COLOUR: blue, file.txt: second, more: third}}`)
	pod := pods(t, c)[0]
	for path, want := range map[string]string{"file.txt": "second", "more": "third"} {
		c.Until(t, path+" to change", func(context.Context) error {
			if got := get(t, pod.address, "file/etc/settings/"+path); got != want {
				return fmt.Errorf("it is %q", got)
			}
			return nil
		})
	}
	c.Apply(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: work}, data: {COLOUR: blue, file.txt: second}}`)
	c.Until(t, "a file to go", func(context.Context) error {
		if got := get(t, pod.address, "file/etc/settings/more"); got != "" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// testServices has the endpoints of a Service follow readiness, and reaches it by all of its addresses.
func testServices(t *testing.T, c kubetest.Cluster) {
	both := pods(t, c)
	endpoints(t, c, 0)
	for i, pod := range both {
		post(t, pod.address, "ready")
		endpoints(t, c, i+1)
	}
	c.Running(t, "work", "greeter")
	s, err := c.Client.CoreV1().Services("work").Get(t.Context(), "greeter", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, "10.244.0.1:53")
	}}
	c.Until(t, "the Service's name", func(ctx context.Context) error {
		found, err := resolver.LookupHost(ctx, "greeter.work.svc.cluster.local.")
		if err == nil && (len(found) != 1 || found[0] != s.Spec.ClusterIP) {
			err = fmt.Errorf("it is %v, not %s", found, s.Spec.ClusterIP)
		}
		return err
	})
	for _, address := range []string{s.Spec.ClusterIP, balanced(t, c, "greeter")} {
		reach(t, c, address, both[0].name, both[1].name)
	}
	post(t, both[0].address, "unready")
	endpoints(t, c, 1)
	reach(t, c, s.Spec.ClusterIP, both[1].name)
	post(t, both[0].address, "ready")
	endpoints(t, c, 2)
}

func testRestarts(t *testing.T, c kubetest.Cluster) {
	pod := pods(t, c)[0]
	// The answer never comes.
	_, _ = http.Post("http://"+pod.address+":8080/crash", "", nil)
	c.Until(t, "the container to start again", func(ctx context.Context) error {
		p, err := c.Client.CoreV1().Pods("work").Get(ctx, pod.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := p.Status.ContainerStatuses[0]
		if s.RestartCount != 1 || s.State.Running == nil || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 3 {
			return fmt.Errorf("its status is %+v", s)
		}
		return nil
	})
	endpoints(t, c, 1) // It has forgotten that it was ready.
	c.Until(t, "the container to answer", func(context.Context) error { return try(pod.address, "ready") })
	endpoints(t, c, 2)
}

// testTrouble looks at what the status of pods says that cannot start or do not last.
func testTrouble(t *testing.T, c kubetest.Cluster) {
	for name, test := range map[string]struct{ spec, want string }{
		"image":   {`{containers: [{name: a, image: nobody/knows:v1}]}`, "has no image nobody/knows: only coredns, echo-basic, greeter"},
		"volume":  {`{containers: [{name: a, image: greeter}], volumes: [{name: v, secret: {secretName: missing}}]}`, `volume v: secret "missing" not found`},
		"kind":    {`{containers: [{name: a, image: greeter}], volumes: [{name: v, nfs: {server: s, path: /}}]}`, "has no volumes of this kind"},
		"command": {`{containers: [{name: a, image: greeter, command: [/none]}], restartPolicy: Never}`, "execute /none: no such file"},
		"init":    {`{initContainers: [{name: i, image: greeter, args: [fail, badly]}], containers: [{name: a, image: greeter}], restartPolicy: Never}`, "Failed"},
	} {
		t.Run(name, func(t *testing.T) {
			object := fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: work}, spec: %s}", name, test.spec)
			c.Apply(t, object)
			c.Until(t, "the pod to say what is wrong", func(ctx context.Context) error {
				status, _, _ := unstructured.NestedMap(c.Get(t, object).Object, "status")
				said := fmt.Sprint(status)
				if log, err := c.Output(ctx, "work", name, "a"); err == nil {
					said += log
				}
				if !strings.Contains(said, test.want) {
					return errors.New(said)
				}
				return nil
			})
			c.Delete(t, object)
		})
	}
}

// testInCluster looks at what a pod needs to reach the apiserver.
func testInCluster(t *testing.T, c kubetest.Cluster) {
	pod := pods(t, c)[0]
	const dir = "/var/run/secrets/kubernetes.io/serviceaccount/"
	if got := get(t, pod.address, "file"+dir+"namespace"); got != "work" {
		t.Errorf("the namespace is %q", got)
	}
	token, ca := get(t, pod.address, "file"+dir+"token"), get(t, pod.address, "file"+dir+"ca.crt")
	if strings.Count(token, ".") != 2 || !strings.Contains(ca, "BEGIN CERTIFICATE") {
		t.Errorf("the token is %q, the authority %q", token, ca)
	}
	if got := get(t, pod.address, "KUBERNETES_SERVICE_HOST") + ":" + get(t, pod.address, "KUBERNETES_SERVICE_PORT"); got != "10.244.0.1:6443" {
		t.Errorf("the apiserver is at %s", got)
	}
}

func testLoadBalancers(t *testing.T, c kubetest.Cluster) {
	service := func(name, address string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: work}, spec: {type: LoadBalancer, loadBalancerIP: %q, ports: [{port: 1}]}}", name, address)
	}
	c.Apply(t, service("asks", "10.245.200.7"))
	if got := balanced(t, c, "asks"); got != "10.245.200.7" {
		t.Errorf("a Service that asks has %s", got)
	}
	c.Apply(t, service("too", "10.245.200.7"))
	c.Apply(t, service("elsewhere", "192.0.2.1"))
	c.Apply(t, service("any", ""))
	balanced(t, c, "any") // Was seen after the others.
	for _, name := range []string{"too", "elsewhere"} {
		if got, _, _ := unstructured.NestedSlice(c.Get(t, service(name, "")).Object, "status", "loadBalancer", "ingress"); len(got) != 0 {
			t.Errorf("%s has %v", name, got)
		}
	}
	for _, name := range []string{"asks", "too", "elsewhere", "any"} {
		c.Delete(t, service(name, ""))
	}
}

// testAPIServer ends the apiserver, sees that pods serve without it, and that all goes on when it is back.
func testAPIServer(t *testing.T, c kubetest.Cluster) {
	both := pods(t, c)
	address := balanced(t, c, "greeter")
	err := c.RestartAPIServer(t.Context(), func() {
		if _, err := c.Client.CoreV1().Pods("work").Get(t.Context(), both[0].name, metav1.GetOptions{}); err == nil {
			t.Error("the apiserver answers")
		}
		reach(t, c, address, both[0].name, both[1].name)
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, strings.Replace(workload, "replicas: 2", "replicas: 3", 1))
	c.Until(t, "a third pod", func(ctx context.Context) error {
		all, err := c.Pods(ctx, "work", "app=greeter")
		if err != nil {
			return err
		}
		if len(all) != 3 {
			return fmt.Errorf("there are %d", len(all))
		}
		for _, p := range all {
			if p.Status.PodIP == "" {
				return errors.New("it has no address")
			}
			if err := try(p.Status.PodIP, "ready"); err != nil {
				return err
			}
		}
		return nil
	})
	endpoints(t, c, 3)
}

// testDeletion looks for what deleted workloads have left on the node.
func testDeletion(t *testing.T, c kubetest.Cluster) {
	log := ""
	for _, p := range pods(t, c) {
		log = c.Logs() + "/work_" + p.name + "_greeter.log"
	}
	c.Delete(t, `{apiVersion: v1, kind: Namespace, metadata: {name: work}}`)
	c.Until(t, "nothing to be left", func(ctx context.Context) error {
		links, err := exec.CommandContext(ctx, "ip", "-brief", "link").Output()
		if err != nil {
			return err
		}
		networks, err1 := os.ReadDir("/run/netns")
		folders, err2 := os.ReadDir(c.Dir + "/pods")
		processes, err3 := exec.CommandContext(ctx, "sh", "-c", "cat /proc/[0-9]*/comm").Output()
		if strings.Count(string(links), "\n") != 1 || len(networks) != 0 || len(folders) != 0 || strings.Contains(string(processes), "greeter") {
			return fmt.Errorf("there are links %s, networks %v, folders %v, processes %s", links, networks, folders, processes)
		}
		return errors.Join(err1, err2, err3)
	})
	// They were asked first.
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "greeter was told to end") {
		t.Errorf("the log of a pod that is gone says %q, %v", text, err)
	}
}

type pod struct{ name, address string }

// pods waits for the pods of the Deployment to run and returns them.
func pods(t *testing.T, c kubetest.Cluster) []pod {
	t.Helper()
	var out []pod
	want, _, _ := unstructured.NestedInt64(c.Get(t, deployment).Object, "spec", "replicas")
	c.Until(t, "the pods to run", func(ctx context.Context) error {
		out = nil
		all, err := c.Pods(ctx, "work", "app=greeter")
		for _, p := range all {
			if len(p.Status.ContainerStatuses) != 1 || p.Status.ContainerStatuses[0].State.Running == nil {
				return fmt.Errorf("%s: %+v", p.Name, p.Status)
			}
			connection, err := net.DialTimeout("tcp", p.Status.PodIP+":8080", time.Second)
			if err != nil {
				return err
			}
			connection.Close()
			out = append(out, pod{p.Name, p.Status.PodIP})
		}
		if len(out) != int(want) {
			return fmt.Errorf("there are %d, not %d", len(out), want)
		}
		return err
	})
	return out
}

func get(t *testing.T, address, path string) string {
	t.Helper()
	answer, err := http.Get("http://" + address + ":8080/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func try(address, path string) error {
	answer, err := http.Post("http://"+address+":8080/"+path, "", nil)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func post(t *testing.T, address, path string) {
	t.Helper()
	if err := try(address, path); err != nil {
		t.Fatal(err)
	}
}

// endpoints waits until so many endpoints of the Service are ready.
func endpoints(t *testing.T, c kubetest.Cluster, want int) {
	t.Helper()
	c.Until(t, fmt.Sprintf("%d endpoints", want), func(ctx context.Context) error {
		slices, err := c.Client.DiscoveryV1().EndpointSlices("work").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=greeter"})
		if err != nil {
			return err
		}
		have := 0
		for _, s := range slices.Items {
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					have++
				}
			}
		}
		if have != want {
			return fmt.Errorf("there are %d", have)
		}
		return nil
	})
}

// reach waits until the Service answers at an address from exactly the pods that are named.
func reach(t *testing.T, c kubetest.Cluster, address string, names ...string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	c.Until(t, "answers at "+address, func(context.Context) error {
		seen := map[string]bool{}
		for range 20 * len(names) {
			answer, err := client.Get("http://" + address + "/POD")
			if err != nil {
				return err
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil {
				return err
			}
			seen[string(text)] = true
		}
		for _, name := range names {
			if !seen[name] || len(seen) != len(names) {
				return fmt.Errorf("they are from %v, not %v", seen, names)
			}
		}
		return nil
	})
}

// balanced waits for the address that a Service of type LoadBalancer is given.
func balanced(t *testing.T, c kubetest.Cluster, name string) string {
	t.Helper()
	address := ""
	c.Until(t, name+" to have an address", func(ctx context.Context) error {
		s, err := c.Client.CoreV1().Services("work").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(s.Status.LoadBalancer.Ingress) != 1 {
			return fmt.Errorf("its status is %v", s.Status)
		}
		address = s.Status.LoadBalancer.Ingress[0].IP
		return nil
	})
	return address
}
