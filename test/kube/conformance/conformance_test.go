// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	upstream "sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"

	"weir.dev/weir/test/kube/kubetest"
)

var (
	update = flag.Bool("update", false, "write "+list+" and "+report+" from what passes now")
	only   = flag.String("only", "", "one test of the suite, by its name; nothing is compared")
)

// What stands in the repository: the names of the tests that pass, and the suite's own report.
const (
	list   = "passing.txt"
	report = "../../../docs/conformance/gateway-api.yaml"
)

// suiteVariable tells a child of this test to run the suite, and where to write its report.
const suiteVariable = "WEIR_CONFORMANCE_REPORT"

// controller is the controllerName of Weir.
const controller = "weir.dev/gateway-controller"

// Addresses that a Gateway may ask for: one that it can have, and one that it cannot.
const (
	usable   = "10.245.200.1"
	unusable = "192.0.2.1"
)

// within bounds a whole run of the suite, so that one that hangs tells what it has passed.
const within = 25 * time.Minute

// TestConformance runs the suite and compares what passes with the list: all that is on it must pass, and all that passes
// must be on it.
func TestConformance(t *testing.T) {
	if os.Getenv(suiteVariable) != "" {
		t.Skip("this is the child")
	}
	c := kubetest.Start(t, kubetest.Options{Channel: "experimental"})
	deploy(t, c)
	written := filepath.Join(t.TempDir(), "report.yaml")
	passed, failed, took := runSuite(t, c, written)
	t.Logf("%d tests pass, %d do not, in %v", len(passed), len(failed), took.Round(time.Second))
	if *only != "" {
		if len(failed) > 0 {
			t.Errorf("%v does not pass", failed)
		}
		return
	}
	if *update {
		keep(t, passed, written)
		return
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(text))
	for _, name := range listed {
		if !slices.Contains(passed, name) {
			t.Errorf("%s is listed in %s and does not pass", name, list)
		}
	}
	for _, name := range passed {
		if !slices.Contains(listed, name) {
			t.Errorf("%s passes and is not listed in %s: add it", name, list)
		}
	}
}

// deploy installs Weir as a user would: a control plane, which runs a Deployment of proxies for each Gateway. Their Services
// have addresses of the cluster's load balancer.
func deploy(t *testing.T, c kubetest.Cluster) {
	t.Helper()
	c.Install(t)
	c.Running(t, "weir-system", "weir-control")
}

// keep writes the list and the report.
func keep(t *testing.T, passed []string, written string) {
	t.Helper()
	text, err := os.ReadFile(written)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(list, []byte(strings.Join(passed, "\n")+"\n"), 0o644),
		os.MkdirAll(filepath.Dir(report), 0o755), os.WriteFile(report, text, 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// result is how go test tells of a test right below TestSuite.
var result = regexp.MustCompile(`(?m)^    --- (PASS|FAIL): TestSuite/(\w+) `)

// runSuite runs the suite in a process of its own: its tests fail the test that they are part of, and here some may.
func runSuite(t *testing.T, c kubetest.Cluster, written string) (passed, failed []string, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	log := filepath.Join(c.Logs(), "suite.log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestSuite$", "-test.v", "-test.timeout=0", "-only="+*only)
	cmd.Env = append(os.Environ(), suiteVariable+"="+written, "KUBECONFIG="+c.Kubeconfig())
	cmd.Stdout, cmd.Stderr = out, out
	began := time.Now()
	ended := cmd.Run()
	took = time.Since(began)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range result.FindAllStringSubmatch(string(text), -1) {
		if m[1] == "PASS" {
			passed = append(passed, m[2])
		} else {
			failed = append(failed, m[2])
		}
	}
	if len(passed)+len(failed) == 0 {
		t.Fatalf("no test of the suite has run: %v\n%s", ended, lastLines(string(text), 40))
	}
	slices.Sort(passed)
	slices.Sort(failed)
	return passed, failed, took
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// profiles are all that a gateway can be tested by.
func profiles() []suite.ConformanceProfileName {
	return []suite.ConformanceProfileName{
		suite.GatewayHTTPConformanceProfileName, suite.GatewayGRPCConformanceProfileName, suite.GatewayTLSConformanceProfileName,
		suite.GatewayTCPConformanceProfileName, suite.GatewayUDPConformanceProfileName,
	}
}

// TestSuite is the suite itself, in the child that TestConformance starts.
func TestSuite(t *testing.T) {
	if os.Getenv(suiteVariable) == "" {
		t.Skip("TestConformance runs it")
	}
	o := upstream.DefaultOptions(t)
	o.ConformanceProfiles = profiles()
	o.ReportOutputPath = os.Getenv(suiteVariable)
	o.RunTest = *only
	o.Implementation = confv1.Implementation{
		Organization: "weir", Project: "weir", URL: "https://weir.dev", Version: "main", Contact: []string{"https://weir.dev"},
	}
	o.TimeoutConfig = timeouts(o.TimeoutConfig)
	o.UsableNetworkAddresses = []gwapiv1.GatewaySpecAddress{{Type: new(gwapiv1.IPAddressType), Value: usable}}
	o.UnusableNetworkAddresses = []gwapiv1.GatewaySpecAddress{{Type: new(gwapiv1.IPAddressType), Value: unusable}}
	class := &gwapiv1.GatewayClass{Spec: gwapiv1.GatewayClassSpec{ControllerName: controller}}
	class.Name = o.GatewayClassName
	if err := o.Client.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	supports(t, o.Client, class.Name)
	upstream.RunConformanceWithOptions(t, o)
}

// timeouts are the suite's own, but for waits that are minutes there: what Weir takes a second for fails earlier.
func timeouts(c config.TimeoutConfig) config.TimeoutConfig {
	for _, d := range []*time.Duration{
		&c.GatewayMustHaveAddress, &c.GatewayMustHaveCondition, &c.GatewayStatusMustHaveListeners, &c.GatewayListenersMustHaveConditions,
		&c.ListenerSetMustHaveCondition, &c.ListenerSetListenersMustHaveConditions, &c.GWCMustBeAccepted, &c.HTTPRouteMustHaveCondition,
		&c.HTTPRouteMustNotHaveParents, &c.TLSRouteMustHaveCondition, &c.TCPRouteMustHaveCondition, &c.UDPRouteMustHaveCondition,
		&c.RouteMustHaveParents, &c.LatestObservedGenerationSet, &c.DefaultTestTimeout,
	} {
		*d = 30 * time.Second
	}
	c.NamespacesMustBeReady = 90 * time.Second
	return c
}

// supports waits until the class says what it supports, which is every feature that is not a mesh's.
func supports(t *testing.T, c client.Client, class string) {
	t.Helper()
	want := features.SetsToNamesSet(features.AllFeatures).Difference(features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures))
	missing := sets.Set[features.FeatureName]{}
	for end := time.After(10 * time.Second); ; {
		o := &gwapiv1.GatewayClass{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: class}, o); err != nil {
			t.Fatal(err)
		}
		missing = want.Clone()
		for _, f := range o.Status.SupportedFeatures {
			missing.Delete(features.FeatureName(f.Name))
		}
		if len(missing) == 0 {
			return
		}
		select {
		case <-end:
			t.Logf("the class does not say that it supports %v", slices.Sorted(maps.Keys(missing)))
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}
