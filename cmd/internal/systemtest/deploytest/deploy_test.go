// Package deploytest has the schemas of Compose and of Kubernetes judge the files in deploy/. It is a module of its own, so that users of
// phx get none of their code.
package deploytest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	root   = "../../../.."
	deploy = root + "/deploy"
)

// TestBuildContexts compares what Docker leaves out of a build with what git ignores. Every tracked file has to be in the context of phx: Go
// asks git which revision it builds, and whether that was modified.
func TestBuildContexts(t *testing.T) {
	for _, context := range []struct {
		dir     string
		made    []string // what is made on a machine, and means nothing elsewhere
		wanted  []string // beside what is tracked
		tracked int
	}{
		{root, []string{"phx", "man/phx.1", "x.test", "cmd/x.test", "a/node_modules/b", "testdata/phoenix_app/_build/prod/lib", "testdata/phoenix_app/deps/phoenix"}, []string{".git/HEAD"}, 500},
		{root + "/testdata/phoenix_app", []string{"_build/prod/lib", "deps/phoenix", "mix.lock"}, nil, 10},
	} {
		file, err := os.Open(filepath.Join(context.dir, ".dockerignore"))
		if err != nil {
			t.Error(err)
			continue
		}
		patterns, err := ignorefile.ReadAll(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		ignored, err := patternmatcher.New(patterns)
		if err != nil {
			t.Fatal(err)
		}
		list := exec.Command("git", "ls-files", "-z")
		list.Dir = context.dir
		out, err := list.Output()
		if err != nil {
			t.Skipf("git lists no files: %v", err)
		}
		tracked := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if len(tracked) < context.tracked {
			t.Fatalf("%s has %d files: %q", context.dir, len(tracked), tracked)
		}
		for _, name := range append(slices.Concat(tracked, context.wanted), context.made...) {
			got, err := ignored.MatchesOrParentMatches(name)
			if want := slices.Contains(context.made, name); got != want || err != nil {
				t.Errorf("%s of %s is ignored: %v, %v, want %v", name, context.dir, got, err, want)
			}
		}
	}
}

// TestCompose loads the compose file as `docker compose config` does: by the schema, without variables that are not set, and with every
// service, volume and file that is referred to.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "compose.yaml")}, cli.WithEnv(nil))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type != "bind" {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", service.Name, err)
			}
		}
		if service.Build == nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(service.Build.Context, service.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", service.Name, err)
		}
	}
	if got := project.ServiceNames(); !reflect.DeepEqual(got, []string{"application", "nats", "phx"}) {
		t.Errorf("the services are %q", got)
	}
}

// TestKubernetes decodes each object strictly into the type that the API server has for it, and compares what refers to each other.
func TestKubernetes(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "kubernetes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var (
		config  corev1.ConfigMap
		service corev1.Service
		set     appsv1.StatefulSet
	)
	objects := map[string]any{"v1 ConfigMap": &config, "v1 Service": &service, "apps/v1 StatefulSet": &set}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	seen := 0
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		object := objects[kind.APIVersion+" "+kind.Kind]
		if object == nil {
			t.Fatalf("an object of a kind that this test does not know: %s %s", kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
		seen++
	}
	if seen != len(objects) {
		t.Errorf("%d objects, want %d", seen, len(objects))
	}

	pod := set.Spec.Template
	container := pod.Spec.Containers[0]
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if set.Spec.ServiceName != service.Name || !selector.Matches(labels.Set(pod.Labels)) || !reflect.DeepEqual(service.Spec.Selector, pod.Labels) {
		t.Errorf("the service and the pods do not find each other: %v, %v", service.Spec.Selector, pod.Labels)
	}
	var shards string
	for _, v := range container.Env {
		if v.Name == "PHX_SHARDS" {
			shards = v.Value
		}
	}
	if want := *set.Spec.Replicas; shards != fmt.Sprint(want) {
		t.Errorf("%d pods and %s shards", want, shards)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && v.ConfigMap.Name != config.Name {
			t.Errorf("the ConfigMap %s is not there", v.ConfigMap.Name)
		}
	}
	for _, claim := range set.Spec.VolumeClaimTemplates {
		volumes[claim.Name] = true
	}
	for _, mount := range container.VolumeMounts {
		if !volumes[mount.Name] {
			t.Errorf("the volume %s is not there", mount.Name)
		}
	}
	port := container.Ports[0]
	for name, probe := range map[string]*corev1.Probe{"/readyz": container.ReadinessProbe, "/healthz": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != name || probe.HTTPGet.Port.String() != port.Name {
			t.Errorf("the probe of %s is %v", name, probe)
		}
	}
	if !bytes.Contains([]byte(config.Data["phx.yaml"]), []byte(":"+fmt.Sprint(port.ContainerPort))) {
		t.Errorf("phx does not listen at the port %d", port.ContainerPort)
	}
}
