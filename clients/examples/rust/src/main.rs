//! Graydon writes to Niko: cargo run HOST:PORT

use std::error::Error;
use tidings::v1::account_service_client::AccountServiceClient;
use tidings::v1::channel_service_client::ChannelServiceClient;
use tidings::v1::chat_service_client::ChatServiceClient;
use tidings::v1::command_result::Result::Accepted;
use tidings::v1::{command, event, *};
use tonic::Request;

mod google {
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}
mod tidings {
    pub mod v1 {
        tonic::include_proto!("tidings.v1");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let api = format!("http://{}", std::env::args().nth(1).ok_or("HOST:PORT is missing")?);
    let (graydon, niko) = (sign_up(&api, "graydon").await?, sign_up(&api, "niko").await?);
    let with_niko = OpenDirectChannelRequest { user_id: niko.user.clone().unwrap().user_id };
    let opened = ChannelServiceClient::connect(api).await?.open_direct_channel(signed_in(&graydon, with_niko)?).await?;
    let channel_id = opened.into_inner().channel.unwrap().channel_id;

    // The cursor is the position up to which this device has everything.
    let hello = Command { command_id: 0, body: Some(command::Body::Hello(Hello { cursor: 0 })) };
    // After an answer that was lost, the same client_message_id again does not make a second message.
    let message = SendMessage { client_message_id: "1".into(), channel_id, text: "Hello, Niko!".into(), reply_to_seq: 0 };
    let send_message = Command { command_id: 1, body: Some(command::Body::SendMessage(message)) };
    converse(&graydon, vec![hello.clone(), send_message]).await?;
    converse(&niko, vec![hello]).await
}

/// Holds a stream with the best chat server. An app keeps it open; this one closes it when it has what it came for, and
/// the server ends it when it has answered everything.
async fn converse(who: &SignUpResponse, commands: Vec<Command>) -> Result<(), Box<dyn Error>> {
    let username = &who.user.as_ref().unwrap().username;
    let (requests, outgoing) = futures_channel::mpsc::unbounded();
    requests.unbounded_send(ConverseRequest { commands })?;
    let mut chat = ChatServiceClient::connect(format!("http://{}", who.servers[0].endpoint)).await?;
    let mut responses = chat.converse(signed_in(who, outgoing)?).await?.into_inner();
    while let Some(response) = responses.message().await? {
        for event in response.events {
            match event.body {
                Some(event::Body::CommandResult(CommandResult { result: Some(Accepted(accepted)), .. })) => {
                    println!("{username} sent message {}", accepted.seq);
                }
                Some(event::Body::CommandResult(refused)) => return Err(format!("{refused:?}").into()),
                Some(event::Body::Message(message)) => {
                    println!("{username} received: {}", message.text);
                    let acknowledge = command::Body::Acknowledge(Acknowledge { position: event.position });
                    let commands = vec![Command { command_id: 0, body: Some(acknowledge) }];
                    requests.unbounded_send(ConverseRequest { commands })?;
                }
                _ => continue,
            }
            requests.close_channel();
        }
    }
    Ok(())
}

/// Takes a name that is free; a person who comes back calls log_in.
async fn sign_up(api: &str, username: &str) -> Result<SignUpResponse, Box<dyn Error>> {
    let request = SignUpRequest { username: username.into(), password: "correct horse".into(), ..Default::default() };
    Ok(AccountServiceClient::connect(api.to_string()).await?.sign_up(request).await?.into_inner())
}

/// Adds the access token, which every call needs but those that sign in.
fn signed_in<T>(who: &SignUpResponse, message: T) -> Result<Request<T>, Box<dyn Error>> {
    let mut request = Request::new(message);
    let token = format!("Bearer {}", who.tokens.as_ref().unwrap().access_token);
    request.metadata_mut().insert("authorization", token.parse()?);
    Ok(request)
}
