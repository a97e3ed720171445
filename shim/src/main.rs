//! The command line.
#![allow(dead_code, missing_docs, unreachable_pub, unused_imports, reason = "development only")]
mod netlink;
use std::os::fd::AsFd;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args[1].as_str() {
        "many" => {
            let t0 = std::time::Instant::now();
            let files: Vec<_> = std::fs::read_dir("/run/netns").unwrap().map(|e| std::fs::File::open(e.unwrap().path()).unwrap()).collect();
            let opened = t0.elapsed();
            let fds: Vec<_> = files.iter().map(|f| f.as_fd()).collect();
            for _ in 0..3 {
                let t1 = std::time::Instant::now();
                let r = netlink::addresses_of_many(&fds);
                let e = t1.elapsed();
                let ok = r.iter().filter(|r| r.is_ok()).count();
                let n: usize = r.iter().flatten().map(Vec::len).sum();
                println!("{} ns, {ok} ok, {n} addresses, open {opened:?}, ask {e:?} = {:?} each; first {:?}", fds.len(), e / fds.len() as u32, r[0]);
            }
            let t1 = std::time::Instant::now();
            let r = netlink::links_of_many(&fds);
            println!("links_of_many {:?} {:?}", t1.elapsed(), r[0]);
        }
        "one" => {
            let f = std::fs::File::open(&args[2]).unwrap();
            for l in netlink::addresses(f.as_fd()).unwrap() { println!("{l:?}"); }
            println!("{:?}", netlink::host_veth(f.as_fd()));
            println!("{:?}", netlink::namespace_ids(&[f.as_fd()]));
        }
        _ => {}
    }
}
