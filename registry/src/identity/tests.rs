//! What the recorded calls do not show: engines' files, forged input, documents with parts missing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const INFRA: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const POD: &str = "aaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccddddaaaabbbbccccdddd";

/// Files that exist only in a test.
#[derive(Default)]
struct Fake(BTreeMap<PathBuf, String>);

impl Fake {
    fn with(mut self, path: &str, content: &str) -> Self {
        self.0.insert(path.into(), content.to_owned());
        self
    }
}

impl Files for Fake {
    fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        let content = self.0.get(path)?.clone().into_bytes();
        (u64::try_from(content.len()).unwrap() <= limit).then_some(content)
    }
}

fn state(bundle: &str, annotations: &str) -> State {
    State::parse(format!(r#"{{"id":"{ID}","bundle":"{bundle}","annotations":{annotations}}}"#).as_bytes())
        .unwrap()
}

fn spec(json: &str) -> Spec {
    Spec::parse(json.as_bytes()).unwrap()
}

fn moby() -> State {
    state(&format!("/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/{ID}"), "null")
}

fn libpod(annotations: &str) -> State {
    state(&format!("/srv/storage/overlay-containers/{ID}/userdata"), annotations)
}

fn podman_entry(id: &str, name: &str) -> String {
    let metadata = format!(r#"{{\"image-name\":\"localhost/web:1\",\"name\":\"{name}\"}}"#);
    format!(
        r#"{{"id":"{id}","names":["{name}"],"image":"x","metadata":"{metadata}","flags":{{"Volatile":true}}}}"#
    )
}

#[test]
fn dockers_name_is_found_above_the_root_filesystem_wherever_its_data_is() {
    for root in ["/data/docker/overlay2/ab/merged", "/data/docker/rootfs/overlayfs/x", "/data/docker/btrfs/x"]
    {
        let spec = spec(&format!(r#"{{"root":{{"path":"{root}"}}}}"#));
        let files = Fake::default().with(
            &format!("/data/docker/containers/{ID}/config.v2.json"),
            r#"{"Name":"/web","Config":{"Image":"nginx:1","Labels":null,"Env":["A=b"]}}"#,
        );
        let found = identify(&moby(), Some(&spec), &files);
        assert_eq!(found.engine, Engine::Docker);
        assert_eq!((found.name.as_deref(), found.image.as_deref()), (Some("web"), Some("nginx:1")));
        assert_eq!(found.pod, None);
        // The same by the root filesystem alone, when the shim keeps its bundles elsewhere.
        let elsewhere = state(&format!("/run/other/{ID}"), "null");
        assert_eq!(identify(&elsewhere, Some(&spec), &files), found);
    }
}

#[test]
fn docker_without_config_json_is_looked_for_in_the_usual_place() {
    let path = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    let files = Fake::default().with(&path, r#"{"Name":"/web","Config":{}}"#);
    assert_eq!(identify(&moby(), None, &files).name.as_deref(), Some("web"));
    let nothing = identify(&moby(), None, &NoFiles);
    assert_eq!(nothing, Identity { engine: Engine::Docker, ..Identity::default() });
}

#[test]
fn cri_dockerd_names_tell_container_and_pod() {
    let path = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    let named = |name: &str| {
        let labels = format!(r#"{{"io.kubernetes.sandbox.id":"{INFRA}"}}"#);
        let json = format!(r#"{{"Name":"/{name}","Config":{{"Image":"i","Labels":{labels}}}}}"#);
        identify(&moby(), None, &Fake::default().with(&path, &json))
    };
    for name in ["k8s_nginx_web-0_shop_1234-5678_3", "k8s_nginx_web-0_shop_1234-5678_3_9a8b7c"] {
        let found = named(name);
        assert_eq!((found.kind, found.name.as_deref()), (Kind::Container, Some("nginx")));
        let pod = found.pod.unwrap();
        assert_eq!((pod.name.as_str(), pod.namespace.as_deref()), ("web-0", Some("shop")));
        assert_eq!((pod.uid.as_deref(), pod.sandbox_id.as_deref()), (Some("1234-5678"), Some(INFRA)));
    }
    let found = named("k8s_POD_web-0_shop_1234-5678_0");
    assert_eq!((found.kind, found.name.as_deref()), (Kind::Sandbox, None));
    assert_eq!(found.pod.unwrap().sandbox_id.as_deref(), Some(ID));
    assert_eq!(named("k8s_only_three").name.as_deref(), Some("k8s_only_three"));
}

#[test]
fn podmans_names_are_in_its_storage_also_of_containers_to_be_removed() {
    let spec = spec(&format!(
        r#"{{"hostname":"{}","linux":{{"cgroupsPath":"/libpod_parent/libpod-{ID}"}}}}"#,
        &ID[..12]
    ));
    let state = libpod(r#"{"io.container.manager":"libpod"}"#);
    let other = podman_entry(INFRA, "other");
    for index in ["containers.json", "volatile-containers.json"] {
        let files = Fake::default()
            .with("/srv/storage/overlay-containers/containers.json", &format!("[{other}]"))
            .with(
                &format!("/srv/storage/overlay-containers/{index}"),
                &format!("[{other},{}]", podman_entry(ID, "web")),
            );
        let found = identify(&state, Some(&spec), &files);
        assert_eq!((found.engine, found.kind), (Engine::Podman, Kind::Container));
        assert_eq!((found.name.as_deref(), found.image.as_deref()), (Some("web"), Some("localhost/web:1")));
        assert_eq!(found.pod, None);
    }
    // Neither a broken index nor one that is too long is fatal.
    for index in ["[{", &format!("[{{\"id\":\"{ID}\",\"names\":7}}]"), &" ".repeat((4 << 20) + 1)] {
        let files = Fake::default().with("/srv/storage/overlay-containers/containers.json", index);
        assert_eq!(identify(&state, Some(&spec), &files).name, None);
    }
}

#[test]
fn a_podman_pod_is_named_by_its_infra_container() {
    let member_cgroup = format!("machine.slice/machine-libpod_pod_{POD}.slice:libpod:{ID}");
    for cgroup in [format!("/libpod_parent/{POD}/libpod-{ID}"), member_cgroup] {
        let infra = format!(
            r#"{{"hostname":"p1","linux":{{"cgroupsPath":"{cgroup}","namespaces":[{{"type":"uts"}}]}}}}"#
        );
        let files = Fake::default()
            .with(&format!("/srv/storage/overlay-containers/{INFRA}/userdata/config.json"), &infra)
            .with("/srv/storage/overlay-containers/containers.json", &podman_entry(ID, "web"));
        let member = spec(&format!(r#"{{"linux":{{"cgroupsPath":"{cgroup}"}}}}"#));
        let state = libpod(&format!(
            r#"{{"io.container.manager":"libpod","io.kubernetes.cri-o.SandboxID":"{INFRA}"}}"#
        ));
        let found = identify(&state, Some(&member), &files);
        assert_eq!((found.kind, found.name.as_deref()), (Kind::Container, Some("web")));
        let pod = PodRef {
            name: "p1".to_owned(),
            uid: Some(POD.to_owned()),
            sandbox_id: Some(INFRA.to_owned()),
            ..PodRef::default()
        };
        assert_eq!(found.pod, Some(pod.clone()));

        let found = identify(&libpod(r#"{"io.container.manager":"libpod"}"#), Some(&spec(&infra)), &NoFiles);
        assert_eq!((found.kind, found.name), (Kind::Sandbox, None));
        assert_eq!(found.pod, Some(PodRef { sandbox_id: Some(ID.to_owned()), ..pod }));
    }
}

#[test]
fn an_infra_container_without_config_json_still_has_its_pods_id() {
    let index = podman_entry(ID, "aaaabbbbcccc-infra");
    let files = Fake::default().with("/srv/storage/overlay-containers/containers.json", &index);
    let found = identify(&libpod("null"), None, &files);
    assert_eq!((found.engine, found.kind, found.name), (Engine::Podman, Kind::Sandbox, None));
    assert_eq!(found.pod.unwrap().name, "aaaabbbbcccc");
    let member = libpod(&format!(r#"{{"io.kubernetes.cri-o.SandboxID":"{INFRA}"}}"#));
    assert_eq!(identify(&member, None, &files).pod.unwrap().name, &INFRA[..12]);
}

#[test]
fn a_member_of_a_pod_without_infra_is_no_sandbox() {
    let json = format!(r#"{{"hostname":"{}","linux":{{"cgroupsPath":"/p/{POD}/libpod-{ID}"}}}}"#, &ID[..12]);
    let found = identify(&libpod(r#"{"io.container.manager":"libpod"}"#), Some(&spec(&json)), &NoFiles);
    assert_eq!((found.kind, found.pod), (Kind::Container, None));
}

#[test]
fn nerdctl_labels_tell_the_name() {
    let bundle = format!("/run/containerd/io.containerd.runtime.v2.task/default/{ID}");
    let found =
        identify(&state(&bundle, r#"{"nerdctl/name":"web","nerdctl/namespace":"default"}"#), None, &NoFiles);
    assert_eq!((found.engine, found.name.as_deref(), found.pod), (Engine::Nerdctl, Some("web"), None));
    let found = identify(&state(&bundle, "null"), None, &NoFiles);
    assert_eq!(found, Identity { engine: Engine::Containerd, ..Identity::default() });
}

#[test]
fn what_users_annotate_does_not_make_another_engine_of_it() {
    let forged = r#"{"io.kubernetes.cri.sandbox-name":"victim","io.container.manager":"libpod"}"#;
    let found = identify(&State { annotations: state("", forged).annotations, ..moby() }, None, &NoFiles);
    assert_eq!((found.engine, found.pod), (Engine::Docker, None));
    let forged = r#"{"io.kubernetes.cri.sandbox-name":"victim","io.container.manager":"cri-o","io.kubernetes.pod.name":"p"}"#;
    let found = identify(&state("/b", forged), None, &NoFiles);
    assert_eq!((found.engine, found.pod.unwrap().name.as_str()), (Engine::CriO, "p"));
}

#[test]
fn a_container_of_cri_o_without_labels_is_its_sandboxs_pods() {
    let of = |name: &str| {
        let annotations = format!(
            r#"{{"io.container.manager":"cri-o","io.kubernetes.container.name":"app","io.kubernetes.cri-o.SandboxID":"{ID}","io.kubernetes.cri-o.SandboxName":"{name}"}}"#
        );
        identify(&state("/b", &annotations), None, &NoFiles)
    };
    let found = of("k8s_web-0_shop_0b5a_0");
    let pod = found.pod.unwrap();
    assert_eq!((found.engine, found.name.as_deref()), (Engine::CriO, Some("app")));
    assert_eq!((pod.name.as_str(), pod.namespace.as_deref()), ("web-0", Some("shop")));
    assert_eq!((pod.uid.as_deref(), pod.sandbox_id.as_deref()), (Some("0b5a"), Some(ID)));
    assert_eq!(of("web-0").pod, None);
}

#[test]
fn a_hostile_name_is_never_raw() {
    let hostile = r#"{"io.kubernetes.cri.sandbox-name":"a\n<0>b\u0000\u001b[2J","io.kubernetes.cri.container-name":"\u202e"}"#;
    let found = identify(&state("/b", hostile), None, &NoFiles);
    assert_eq!(found.pod.unwrap().name, "a?<0>b??[2J");
    assert_eq!(found.name.as_deref(), Some("?"));
}

#[test]
fn no_path_is_made_of_what_is_no_id() {
    struct Panics;
    impl Files for Panics {
        fn read(&self, path: &Path, _: u64) -> Option<Vec<u8>> {
            panic!("{} was looked at", path.display())
        }
    }
    let bad_id = State { id: "../../etc".to_owned(), ..moby() };
    assert_eq!(
        identify(&bad_id, Some(&spec(r#"{"root":{"path":"/a/b/c"}}"#)), &Panics).engine,
        Engine::Docker
    );
    let infra = r#"{"io.container.manager":"libpod","io.kubernetes.cri-o.SandboxID":"../../x"}"#;
    let climbing = State { bundle: format!("/srv/../etc/overlay-containers/{ID}/userdata"), ..libpod(infra) };
    assert_eq!(identify(&climbing, None, &Panics).pod, None);
}
