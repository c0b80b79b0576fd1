// SPDX-License-Identifier: Apache-2.0

package seeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"weir.dev/weir/test/kube/kubetest"
)

const (
	flaskService = "flask-app-envoy-service.default.svc.cluster.local"
	flask        = "flask-app-envoy-deployment"
	edge         = "http://10.244.0.1:32714" // the node's address, as the document asks for it
)

// testVersion1 applies what the document applies: an edge that finds the Pods of a Service by version 1 of discovery,
// and a sidecar in each. The Service is there before its Pods are; they come, become fewer, go, and come again, and at
// last the discovery service goes.
func testVersion1(t *testing.T, c kubetest.Cluster) {
	const example = "examples/seeds/004-envoy-v1/"
	c.ApplyFiles(t, "deploy/crds/*.yaml", "deploy/rbac.yaml", example+"kubernetes-envoy-sds.yaml")
	c.Running(t, "kube-system", "kubernetes-envoy-sds")
	s, err := c.Client.CoreV1().Services("kube-system").Get(t.Context(), "kubernetes-envoy-sds", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	registration := "http://" + s.Spec.ClusterIP + "/v1/registration/"

	configMap(t, c, "envoy-config", example+"flask-app-envoy/envoy.json")
	configMap(t, c, "edge-envoy-config", example+"edge-envoy/envoy.json")
	c.ApplyFiles(t, example+"flask-app-envoy/service.yaml", example+"edge-envoy/*.yaml")
	edgePod := c.Running(t, "default", "edge-envoy-deployment")
	// Neither a Service without endpoints nor one that is not there is anything but one without hosts.
	until(t, c, `200 {"hosts":[]}`, "GET", registration+flaskService, "")
	until(t, c, `200 {"hosts":[]}`, "GET", registration+"nobody.default.svc.cluster.local", "")
	until(t, c, "503 no healthy upstream", "GET", edge, "", "Host", "foo.com")

	c.ApplyFiles(t, example+"flask-app-envoy/deployment.yaml")
	registered(t, c, registration, 4)
	until(t, c, "200 Hello, World!", "GET", edge, "", "Host", "foo.com")
	until(t, c, "404 ", "GET", edge, "", "Host", "bar.com")
	reaches(t, c, 4)
	for _, n := range []int{2, 0, 4} {
		scale(t, c, "default", flask, n)
		registered(t, c, registration, n)
		reaches(t, c, n)
	}
	c.Until(t, "the access log", func(ctx context.Context) error {
		text, err := c.Output(ctx, "default", edgePod, "envoy")
		if err == nil && (!strings.Contains(text, `"GET / HTTP/1.1" 200 - `) || !strings.Contains(text, `"GET / HTTP/1.1" 503 UH `)) {
			err = errors.New(text)
		}
		return err
	})

	scale(t, c, "kube-system", "kubernetes-envoy-sds", 0)
	failures := "cluster." + flaskService + ".update_failure: "
	c.Until(t, "the edge to ask in vain", func(ctx context.Context) error {
		a, err := ask(ctx, "GET", "http://"+podIP(t, c, edgePod)+":8001/stats", "")
		if err == nil && (!strings.Contains(a.body, failures) || strings.Contains(a.body, failures+"0\n")) {
			err = errors.New("it has not")
		}
		return err
	})
	reaches(t, c, 4)
}

// scale sets how many Pods a Deployment has.
func scale(t *testing.T, c kubetest.Cluster, namespace, name string, n int) {
	t.Helper()
	want := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: int32(n)}}
	if _, err := c.Client.AppsV1().Deployments(namespace).UpdateScale(t.Context(), name, want, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Until(t, fmt.Sprintf("%d Pods of %s", n, name), func(ctx context.Context) error {
		d, err := c.Client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && (d.Status.ObservedGeneration != d.Generation || int(d.Status.Replicas) != n || int(d.Status.ReadyReplicas) != n) {
			err = fmt.Errorf("there are %d, of which %d are ready", d.Status.Replicas, d.Status.ReadyReplicas)
		}
		return err
	})
}

func podIP(t *testing.T, c kubetest.Cluster, name string) string {
	t.Helper()
	p, err := c.Client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Status.PodIP
}

// ready are the Pods of the application that are ready and stay.
func ready(ctx context.Context, c kubetest.Cluster) (names, addresses []string, err error) {
	all, err := c.Pods(ctx, "default", "app=flask-app-envoy")
	for _, p := range all {
		if p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(k corev1.PodCondition) bool {
			return k.Type == corev1.PodReady && k.Status == corev1.ConditionTrue
		}) {
			names, addresses = append(names, p.Name), append(addresses, p.Status.PodIP+":80")
		}
	}
	slices.Sort(names)
	slices.Sort(addresses)
	return names, addresses, err
}

// registered waits until the discovery service tells of n hosts, which are the Pods.
func registered(t *testing.T, c kubetest.Cluster, registration string, n int) {
	t.Helper()
	c.Until(t, fmt.Sprintf("%d hosts of the Service", n), func(ctx context.Context) error {
		_, want, err := ready(ctx, c)
		if err != nil {
			return err
		}
		a, err := ask(ctx, "GET", registration+flaskService, "")
		if err != nil {
			return err
		}
		var told struct {
			Hosts []struct {
				Address string `json:"ip_address"`
				Port    int    `json:"port"`
			} `json:"hosts"`
		}
		if err := json.Unmarshal([]byte(a.body), &told); err != nil {
			return err
		}
		var got []string
		for _, h := range told.Hosts {
			got = append(got, fmt.Sprintf("%s:%d", h.Address, h.Port))
		}
		slices.Sort(got)
		if len(want) != n || !slices.Equal(got, want) {
			return fmt.Errorf("there are Pods at %q, and it tells of %q", want, got)
		}
		return nil
	})
}

// reaches waits until requests to the edge go to all of the n Pods and no others; none are answered 503.
func reaches(t *testing.T, c kubetest.Cluster, n int) {
	t.Helper()
	if n == 0 {
		until(t, c, "503 no healthy upstream", "GET", edge, "", "Host", "foo.com")
		return
	}
	c.Until(t, fmt.Sprintf("requests to go to %d Pods", n), func(ctx context.Context) error {
		want, _, err := ready(ctx, c)
		if err != nil {
			return err
		}
		var got []string
		for range 2 * n {
			a, err := ask(ctx, "GET", edge+"/healthy_check", "", "Host", "foo.com")
			if err != nil {
				return err
			}
			rest, ok := strings.CutPrefix(a.body, "I am fine! <service_name: ")
			if !ok {
				return fmt.Errorf("got %v", a)
			}
			name, _, _ := strings.Cut(rest, ",")
			got = append(got, name)
		}
		slices.Sort(got)
		if got = slices.Compact(got); len(want) != n || !slices.Equal(got, want) {
			return fmt.Errorf("there are Pods %q, and they go to %q", want, got)
		}
		return nil
	})
}
