fn main() -> std::io::Result<()> {
    let protos = ["account", "channel", "chat"].map(|name| format!("../../../protos/tidings/v1/{name}.proto"));
    tonic_prost_build::configure().compile_protos(&protos, &["../../../protos".into()])
}
